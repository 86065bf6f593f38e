"""Retrieval over the whole corpus, query by query, as of each query's instant.

Validation, the choice of the ranker's weights and the evaluation of a release all retrieve through here, so that
they mean the same by corpus, candidates and rank.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from feature_repo.columns import Arrays
from trainer.catalogue import Catalogue
from trainer.engagements import Engagements
from trainer.metrics import ranks_of_targets

QUERIES_AT_ONCE = 512
"""Queries whose scores against the whole corpus are held in memory together."""


@dataclass(frozen=True)
class Queries:
    """Positive outcomes to be found again.

    Attributes:
        user_ids: [n].
        instants: [n] int64 unix microseconds.
        targets: [n] int64 codes of the relevant items, each in the catalogue.
        vectors: [n, dimension] query embeddings.
    """

    user_ids: np.ndarray
    instants: np.ndarray
    targets: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Retrieved:
    """What retrieval found for some queries of one snapshot.

    Attributes:
        rows: [q] places of the queries.
        items: features of all m items as of the snapshot.
        ranks: [q] rank of the relevant item in the corpus; 1 is first.
        candidates: [q, k] codes, the best first.
        scores: [q, k] dot products; -inf beyond the end of the corpus.
    """

    rows: np.ndarray
    items: Arrays
    ranks: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray


def retrieve(
    queries: Queries,
    catalogue: Catalogue,
    engagements: Engagements,
    embed_items: Callable[[Arrays], np.ndarray],
    refresh_seconds: float,
    k: int,
    repeats: bool = False,
) -> Iterator[Retrieved]:
    """Retrieves candidates for every query.

    The corpus of a query is the catalogue without what its user had engaged with strictly before. Items are
    embedded again at every multiple of `refresh_seconds` that a query needs, with their features as of then.

    Args:
        queries: n queries.
        catalogue: of m items.
        engagements: of the users.
        embed_items: item embeddings [m, dimension] of the features of all items.
        refresh_seconds: age up to which item embeddings are used.
        k: candidates wanted for each query; at most m are given.
        repeats: whether what a user had engaged with stays in the corpus.
    """
    period = max(int(refresh_seconds * 1_000_000), 1)
    snapshots, owners = np.unique(queries.instants // period * period, return_inverse=True)
    for place, items in enumerate(catalogue.snapshots(snapshots)):
        vectors = embed_items(items)
        members = np.flatnonzero(owners == place)
        for start in range(0, len(members), QUERIES_AT_ONCE):
            rows = members[start : start + QUERIES_AT_ONCE]
            scores = queries.vectors[rows] @ vectors.T
            targets = queries.targets[rows]
            if not repeats:
                seen_rows, seen_items = engagements.before(queries.user_ids[rows], queries.instants[rows])
                # What the query asks for again was wanted again: it stays in the corpus.
                filtered = seen_items != targets[seen_rows]
                scores[seen_rows[filtered], seen_items[filtered]] = -np.inf
            candidates = top_k(scores, k)
            yield Retrieved(
                rows=rows,
                items=items,
                ranks=ranks_of_targets(scores, targets),
                candidates=candidates,
                scores=np.take_along_axis(scores, candidates, axis=1),
            )


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """[n, min(k, m)] columns of the largest of [n, m] scores, the best first; equal scores by column."""
    k = min(k, scores.shape[1])
    if k < scores.shape[1]:
        columns = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    else:
        columns = np.broadcast_to(np.arange(k), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)

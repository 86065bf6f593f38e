"""From scores to ranks, and from ranks to metrics, for queries that ask for one or several items."""

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.benchmarks.quality.problem import Phase

MOMENTS_AT_ONCE = 512


def ranks_of_pairs(phase: Phase, score: Callable[[slice], np.ndarray]) -> np.ndarray:
    """[p] rank of every item asked for in the corpus of its moment; ties go to the lower code.

    Args:
        phase: the round.
        score: [moments, items] scores of a slice of the moments.

    Raises:
        ValueError: if a score is no number.
    """
    ranks = np.full(len(phase.pair_items), np.inf)
    pairs = np.argsort(phase.pair_moments, kind="stable")
    bounds = np.searchsorted(phase.pair_moments[pairs], np.arange(len(phase.users) + 1))
    for start in range(0, len(phase.users), MOMENTS_AT_ONCE):
        part = slice(start, min(start + MOMENTS_AT_ONCE, len(phase.users)))
        scores = np.array(score(part), np.float32)
        if np.isnan(scores).any():
            raise ValueError("scores must be numbers. Received: nan.")
        inside = slice(phase.history_starts[part.start], phase.history_starts[part.stop])
        scores[phase.history_moments[inside] - start, phase.history_items[inside]] = -np.inf
        here = pairs[bounds[part.start] : bounds[part.stop]]
        rows, targets = phase.pair_moments[here] - start, phase.pair_items[here]
        own = scores[rows, targets][:, None]
        of_row = scores[rows]
        before = np.arange(scores.shape[1])[None, :] < targets[:, None]
        ranks[here] = 1.0 + (of_row > own).sum(axis=1) + ((of_row == own) & before).sum(axis=1)
        ranks[here[np.isneginf(own[:, 0])]] = np.inf
    return ranks


def recall_at_k(ranks: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """[q] share of each query's items that are among the first k.

    Args:
        ranks: [p] of the items asked for.
        queries: [p] their queries, 0 to q - 1.
        k: cutoff.
    """
    return np.bincount(queries, ranks <= k) / np.bincount(queries)


def ndcg_at_k(ranks: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """[q]: gain 1 / log2(1 + rank), against that of a list with all the items first."""
    gains = np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))])
    return np.bincount(queries, gains) / ideal[np.minimum(np.bincount(queries), k)]


def average_precision_at_k(ranks: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """[q]: mean, over the items that could be among the first k, of the precision at each one found there."""
    order = np.lexsort((ranks, queries))
    starts = np.searchsorted(queries[order], np.arange(queries.max() + 1))
    found_so_far = np.arange(len(order)) - starts[queries[order]] + 1
    precision = np.where(ranks[order] <= k, found_so_far / ranks[order], 0.0)
    return np.bincount(queries[order], precision) / np.minimum(np.bincount(queries), k)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "recall_at_10": partial(recall_at_k, k=10),
    "recall_at_20": partial(recall_at_k, k=20),
    "recall_at_50": partial(recall_at_k, k=50),
    "recall_at_100": partial(recall_at_k, k=100),
    "ndcg_at_10": partial(ndcg_at_k, k=10),
    "ndcg_at_20": partial(ndcg_at_k, k=20),
    "map_at_10": partial(average_precision_at_k, k=10),
}
"""What the table shows: per-query values [q] of ranks [p] and their queries [p]."""

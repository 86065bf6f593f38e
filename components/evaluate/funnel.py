"""Runs the exported models over the test window, stage after stage, as the gateway would."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.evaluate.moments import Moments
from feature_repo.as_of import join_as_of
from feature_repo.columns import Arrays, to_arrays
from feature_repo.item_vectors import read_item_vectors
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from feature_repo.tables import TIMESTAMP

_ROWS_AT_ONCE = 400_000
_NOTHING = np.empty(0, np.int64)
_MOMENTS_AT_ONCE = 64
_NUMBERS_A_ROW = 32
"""About how wide a row of item features is without the embeddings that items come with."""


class FunnelModels:
    """The SavedModels of one candidate or release, and the features they take."""

    def __init__(self, spec: FeatureSpec, user_tower: Path, item_tower: Path, ranker: Path):
        """Loads the three models."""
        from trainer.scoring import ExportedRanker, Towers

        self.spec = spec
        self.towers = Towers(user_tower, item_tower)
        self.ranker = ExportedRanker(ranker)
        self.retrieval_request = spec.request_inputs("retrieval")
        self.ranking_request = spec.request_inputs("ranking")
        self.retrieval_item = spec.inputs("item", "retrieval")
        self.ranking_item = spec.inputs("item", "ranking")
        self.item_features = tuple(dict.fromkeys((*self.retrieval_item, *self.ranking_item)))


@dataclass(frozen=True)
class Pools:
    """The best items of the funnel at every moment, whether or not anything is asked there.

    Attributes:
        items: [m, p] catalogue rows, best first; -1 where there are fewer.
        scores, probabilities: [m, p] of the ranker.
    """

    items: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class FunnelOutcome:
    """What the funnel made of the test window.

    Attributes:
        retrieval_ranks: [n] rank of each query's item in the whole corpus by retrieval score.
        ranks: [n] rank in the final answer; inf where retrieval did not hand the item on.
        top_items: [n, 10] catalogue rows of each query's answer, -1 where it is shorter.
        probabilities, labels: of every impression of the test window, in the order of the moments.
        pools: the best items of every moment; None where not asked for.
    """

    retrieval_ranks: np.ndarray
    ranks: np.ndarray
    top_items: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    pools: Pools | None = None


def run_funnel(
    models: FunnelModels,
    moments: Moments,
    targets: tuple[np.ndarray, np.ndarray],
    item_features: pa.Table,
    catalogue: pa.Array,
    candidates: int,
    refresh_seconds: int,
    pool: int = 0,
    item_vectors: Path | None = None,
    history_candidates: int = 0,
) -> FunnelOutcome:
    """Retrieval over the unseen corpus, then the ranker on what retrieval hands on.

    Args:
        models: the exported models.
        moments: of the test window.
        targets: ([n] moment, [n] catalogue row) of the queries, ordered by moment.
        item_features: the item feature table.
        catalogue: [items] sorted item ids.
        candidates: how many items retrieval hands on.
        refresh_seconds: items' features and vectors are those of the last multiple of this before the moment.
        pool: how many of the best items of every moment to give back.
        item_vectors: file with the embeddings that items come with; needed where a model takes one.
        history_candidates: how many of the user's own items join the candidates where items are consumed repeatedly.
    """
    count = len(moments.users)
    seconds = moments.timestamps // 1_000_000
    users = models.towers.embed_queries(to_arrays(models.retrieval_request, moments.rows), seconds)
    request = to_arrays(models.ranking_request, moments.rows)
    bounds = np.searchsorted(targets[0], np.arange(count + 1))

    retrieval_ranks = np.full(len(targets[0]), np.inf)
    ranks = np.full(len(targets[0]), np.inf)
    top_items = np.full((len(targets[0]), 10), -1, np.int64)
    probabilities: list[np.ndarray] = [np.empty(0)] * count
    own = _own_items(models.spec, moments, catalogue, history_candidates)
    pools = Pools(np.full((count, pool), -1, np.int64), np.zeros((count, pool)), np.zeros((count, pool)))

    def score(some: np.ndarray, items: Arrays, vectors: np.ndarray) -> None:
        retrieval = users[some] @ vectors.T
        corpus = retrieval.copy()
        for row, moment in enumerate(some):
            corpus[row, moments.excluded[moment]] = -np.inf
        order = np.argsort(-corpus, axis=1, kind="stable")
        lists = []
        for row, moment in enumerate(some):
            retrieved = order[row, : min(candidates, len(catalogue) - len(moments.excluded[moment]))]
            lists.append(np.concatenate([retrieved, own[moment][~np.isin(own[moment], retrieved)]]))
        width = max(len(chosen) for chosen in lists)
        most = max(len(moments.impressions[moment]) for moment in some)
        # The impressions ride along behind the candidates; the padding of both is scored and dropped.
        rows = np.zeros((len(some), width + most), np.int64)
        for row, moment in enumerate(some):
            rows[row, : len(lists[row])] = lists[row]
            shown = moments.impressions[moment]
            rows[row, width : width + len(shown)] = shown
        outputs = models.ranker.score_many(
            {name: values[some] for name, values in request.items()},
            seconds[some],
            items,
            rows,
            np.take_along_axis(retrieval, rows, axis=1),
        )
        for row, moment in enumerate(some):
            probabilities[moment] = outputs["probability"][row, width : width + len(moments.impressions[moment])]
            length = len(catalogue) - len(moments.excluded[moment])
            chosen = lists[row]
            best = np.argsort(-outputs["score"][row, : len(chosen)], kind="stable")
            answer = chosen[best]
            kept = best[:pool]
            pools.items[moment, : len(kept)] = chosen[kept]
            pools.scores[moment, : len(kept)] = outputs["score"][row, kept]
            pools.probabilities[moment, : len(kept)] = outputs["probability"][row, kept]
            start, end = bounds[moment], bounds[moment + 1]
            if start == end:
                continue
            wanted = targets[1][start:end]
            retrieval_ranks[start:end] = _places(order[row, :length], len(catalogue))[wanted]
            ranks[start:end] = _places(answer, len(catalogue))[wanted]
            top_items[start:end, : min(10, len(answer))] = answer[:10]

    done = 0
    for inside, arrays in _item_snapshots(models, seconds, (item_features, item_vectors), catalogue, refresh_seconds):
        vectors = models.towers.embed_items({f.name: arrays[f.name] for f in models.retrieval_item})
        size = len(catalogue)
        for place, of_snapshot in enumerate(inside):
            part = slice(place * size, (place + 1) * size)
            items = {f.name: arrays[f.name][part] for f in models.ranking_item}
            for start in range(0, len(of_snapshot), _MOMENTS_AT_ONCE):
                score(of_snapshot[start : start + _MOMENTS_AT_ONCE], items, vectors[part])
        done += sum(len(of_snapshot) for of_snapshot in inside)
        report_progress(f"funnel: {done:,} of {count:,} moments")
    return FunnelOutcome(
        retrieval_ranks,
        ranks,
        top_items,
        np.concatenate(probabilities),
        np.concatenate(moments.labels),
        pools if pool else None,
    )


def _own_items(spec: FeatureSpec, moments: Moments, catalogue: pa.Array, most: int) -> list[np.ndarray]:
    """For each moment the catalogue rows of the user's latest items, the newest of each history first.

    Histories that only filter are no part of the examples, so these are the ones that models take.
    """
    histories = [f for f in spec.user_histories() if f.name in moments.rows.column_names]
    if not (moments.repeat and most and histories):
        return [_NOTHING] * len(moments.users)
    arrays = to_arrays(histories, moments.rows)
    longest = max(feature.length or 0 for feature in histories)
    # By place first, so that histories take turns.
    columns = [arrays[f.name][:, place] for place in range(longest) for f in histories if place < (f.length or 0)]
    ids = np.stack(columns, axis=1)
    found = pc.index_in(pa.array(ids.ravel(), pa.string()), catalogue).fill_null(-1).to_numpy().reshape(ids.shape)
    return [np.array(list(dict.fromkeys(row[row >= 0].tolist()))[:most], np.int64) for row in found]


def _places(order: np.ndarray, items: int) -> np.ndarray:
    """[items] place of each item in an order of some of them; 1 is first, inf is not there."""
    places = np.full(items, np.inf)
    places[order] = np.arange(1, len(order) + 1)
    return places


def _item_snapshots(
    models: FunnelModels,
    seconds: np.ndarray,
    item_tables: tuple[pa.Table, Path | None],
    catalogue: pa.Array,
    refresh_seconds: int,
) -> Iterator[tuple[list[np.ndarray], Arrays]]:
    """Moments by snapshot, some snapshots at a time, and the arrays of all items of those snapshots in turn."""
    snapshots, inverse = np.unique(seconds // refresh_seconds * refresh_seconds, return_inverse=True)
    item_features, item_vectors = item_tables
    vectors = [feature for feature in models.item_features if feature in models.spec.vectors()]
    held = to_arrays(vectors, read_item_vectors(item_vectors, catalogue, vectors))
    width = sum(array.shape[1] for array in held.values())
    per_chunk = max(1, _ROWS_AT_ONCE // (len(catalogue) * (1 + width // _NUMBERS_A_ROW)))
    rest = [feature for feature in models.item_features if feature not in vectors]
    columns = [feature.name for feature in rest if feature.name != "item_id"]
    for start in range(0, len(snapshots), per_chunk):
        chunk = snapshots[start : start + per_chunk]
        ids = pa.chunked_array([catalogue] * len(chunk))
        at = pa.array(np.repeat(chunk * 1_000_000, len(catalogue)), pa.int64()).cast(TIMESTAMP)
        values = join_as_of(pa.table({"item_id": ids, "timestamp": at}), item_features, "item_id", columns)
        arrays = to_arrays(rest, values.append_column("item_id", ids))
        arrays |= {name: np.tile(array, (len(chunk), 1)) for name, array in held.items()}
        yield [np.flatnonzero(inverse == start + place) for place in range(len(chunk))], arrays

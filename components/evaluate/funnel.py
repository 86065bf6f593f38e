"""Runs the exported models over the test window, stage after stage, as the gateway would."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.evaluate.moments import Moments
from feature_repo.as_of import join_as_of
from feature_repo.columns import Arrays, to_arrays
from feature_repo.progress import report_progress
from feature_repo.spec import REQUEST_TIMESTAMP, RETRIEVAL_SCORE, FeatureSpec
from feature_repo.tables import TIMESTAMP

_ROWS_AT_ONCE = 400_000


class FunnelModels:
    """The SavedModels of one candidate or release, and the features they take."""

    def __init__(self, spec: FeatureSpec, user_tower: Path, item_tower: Path, ranker: Path):
        """Loads the three models."""
        import tensorflow as tf

        self.spec = spec
        self._loaded = [tf.saved_model.load(str(path)) for path in (user_tower, item_tower, ranker)]
        self.user_tower, self.item_tower, self.ranker = (model.signatures["serving_default"] for model in self._loaded)
        self.retrieval_request = spec.request_inputs("retrieval")
        self.ranking_request = spec.request_inputs("ranking")
        self.retrieval_item = spec.inputs("item", "retrieval")
        self.ranking_item = spec.inputs("item", "ranking")
        self.item_features = tuple(dict.fromkeys((*self.retrieval_item, *self.ranking_item)))


@dataclass(frozen=True)
class FunnelOutcome:
    """What the funnel made of the test window.

    Attributes:
        retrieval_ranks: [n] rank of each query's item in the whole corpus by retrieval score.
        ranks: [n] rank in the final answer; inf where retrieval did not hand the item on.
        top_items: [n, 10] catalogue rows of each query's answer, -1 where it is shorter.
        probabilities, labels: of every impression of the test window, in the order of the moments.
    """

    retrieval_ranks: np.ndarray
    ranks: np.ndarray
    top_items: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray


def run_funnel(
    models: FunnelModels,
    moments: Moments,
    targets: tuple[np.ndarray, np.ndarray],
    item_features: pa.Table,
    catalogue: pa.Array,
    candidates: int,
    refresh_seconds: int,
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
    """
    import tensorflow as tf

    count = len(moments.users)
    seconds = moments.timestamps // 1_000_000
    users = _in_batches(
        models.user_tower, {**to_arrays(models.retrieval_request, moments.rows), REQUEST_TIMESTAMP: seconds}
    )
    request = {**to_arrays(models.ranking_request, moments.rows), REQUEST_TIMESTAMP: seconds}
    bounds = np.searchsorted(targets[0], np.arange(count + 1))

    retrieval_ranks = np.full(len(targets[0]), np.inf)
    ranks = np.full(len(targets[0]), np.inf)
    top_items = np.full((len(targets[0]), 10), -1, np.int64)
    probabilities: list[np.ndarray] = [np.empty(0)] * count

    def score(moment: int, items: dict[str, Any], vectors: np.ndarray) -> None:
        retrieval = (vectors @ users[moment]).astype(np.float32)
        corpus = retrieval.copy()
        corpus[moments.seen[moment]] = -np.inf
        start, end = bounds[moment], bounds[moment + 1]
        chosen = np.empty(0, np.int64)
        if start < end:
            order = np.argsort(-corpus, kind="stable")[: len(corpus) - len(moments.seen[moment])]
            chosen = order[:candidates]
            place_of = np.full(len(corpus), np.inf)
            place_of[order] = np.arange(1, len(order) + 1)
            retrieval_ranks[start:end] = place_of[targets[1][start:end]]
        rows = np.concatenate([chosen, moments.impressions[moment]])
        inputs = {name: tf.constant(values[moment : moment + 1]) for name, values in request.items()}
        inputs |= {name: tf.gather(items[name], rows) for name in items}
        inputs[RETRIEVAL_SCORE] = tf.constant(retrieval[rows])
        outputs = models.ranker(**inputs)
        scores = outputs["score"].numpy()
        probabilities[moment] = outputs["probability"].numpy()[len(chosen) :]
        if start < end:
            answer = chosen[np.argsort(-scores[: len(chosen)], kind="stable")]
            place_of = np.full(len(corpus), np.inf)
            place_of[answer] = np.arange(1, len(answer) + 1)
            ranks[start:end] = place_of[targets[1][start:end]]
            top_items[start:end, : min(10, len(answer))] = answer[:10]

    done = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for inside, arrays in _item_snapshots(models, seconds, item_features, catalogue, refresh_seconds):
            vectors = _in_batches(models.item_tower, {f.name: arrays[f.name] for f in models.retrieval_item})
            size = len(catalogue)
            tensors = {f.name: tf.constant(arrays[f.name]) for f in models.ranking_item}
            futures = []
            for place, of_snapshot in enumerate(inside):
                part = slice(place * size, (place + 1) * size)
                items = {name: tensor[part] for name, tensor in tensors.items()}
                futures += [pool.submit(score, int(moment), items, vectors[part]) for moment in of_snapshot]
            for future in futures:
                future.result()
            done += len(futures)
            report_progress(f"funnel: {done:,} of {count:,} moments")
    return FunnelOutcome(
        retrieval_ranks,
        ranks,
        top_items,
        np.concatenate(probabilities),
        np.concatenate(moments.labels),
    )


def _item_snapshots(
    models: FunnelModels, seconds: np.ndarray, item_features: pa.Table, catalogue: pa.Array, refresh_seconds: int
) -> Iterator[tuple[list[np.ndarray], Arrays]]:
    """Moments by snapshot, some snapshots at a time, and the arrays of all items of those snapshots in turn."""
    snapshots, inverse = np.unique(seconds // refresh_seconds * refresh_seconds, return_inverse=True)
    per_chunk = max(1, _ROWS_AT_ONCE // len(catalogue))
    columns = [feature.name for feature in models.item_features if feature.name != "item_id"]
    for start in range(0, len(snapshots), per_chunk):
        chunk = snapshots[start : start + per_chunk]
        ids = pa.chunked_array([catalogue] * len(chunk))
        at = pa.array(np.repeat(chunk * 1_000_000, len(catalogue)), pa.int64()).cast(TIMESTAMP)
        values = join_as_of(pa.table({"item_id": ids, "timestamp": at}), item_features, "item_id", columns)
        arrays = to_arrays(models.item_features, values.append_column("item_id", ids))
        yield [np.flatnonzero(inverse == start + place) for place in range(len(chunk))], arrays


def _in_batches(tower: Any, arrays: Arrays, batch: int = 8192) -> np.ndarray:
    """[n, D] embeddings."""
    import tensorflow as tf

    count = len(next(iter(arrays.values())))
    parts = [
        tower(**{name: tf.constant(values[start : start + batch]) for name, values in arrays.items()})["embedding"]
        for start in range(0, count, batch)
    ]
    return tf.concat(parts, axis=0).numpy()

"""Requests to try a candidate with: a cold user, and a typical one of the training data, with real items."""

from pathlib import Path
from typing import Any

import numpy as np

from components.validate.statistics import columns_of, read_statistics
from feature_repo.columns import Arrays, row_to_arrays
from feature_repo.spec import REQUEST_TIMESTAMP, RETRIEVAL_SCORE, Feature, FeatureSpec
from serving.item_table import ItemTable


def sample_users(features: FeatureSpec, statistics: Path) -> dict[str, dict[str, Any]]:
    """Stored values of two users by what they are: `cold`, of whom nothing is known, and `typical`.

    Args:
        features: the feature spec.
        statistics: of the training rows; the typical user has their most frequent values and their means.
    """
    taken = {f.name: f for stage in ("retrieval", "ranking") for f in features.request_inputs(stage)}
    columns = columns_of(read_statistics(statistics))
    typical = {name: _typical(feature, columns[name]) for name, feature in taken.items() if name in columns}
    return {"cold": {}, "typical": typical}


def tower_inputs(features: FeatureSpec, row: dict[str, Any], seconds: int) -> Arrays:
    """What the user tower takes for one request."""
    return {**row_to_arrays(features.request_inputs("retrieval"), row), **_instant(seconds)}


def ranker_inputs(
    features: FeatureSpec, row: dict[str, Any], seconds: int, items: ItemTable, rows: np.ndarray, scores: np.ndarray
) -> Arrays:
    """What the ranker takes for one request and the candidates `rows`, which retrieval gave `scores`."""
    request = row_to_arrays(features.request_inputs("ranking"), row)
    candidates = {name: array[rows] for name, array in items.ranking_inputs.items()}
    return {**request, **candidates, **_instant(seconds), RETRIEVAL_SCORE: scores}


def _typical(feature: Feature, column: Any) -> Any:
    ranked = [bucket.label for bucket in column.string_stats.rank_histogram.buckets]
    if feature.kind in ("categorical", "text"):
        return ranked[0] if ranked else None
    if feature.kind == "sequence":
        return ranked[: feature.length]
    if feature.kind == "embedding":
        return [float(column.num_stats.mean)] * (feature.length or 0)
    return int(column.num_stats.mean) if feature.kind == "timestamp" else float(column.num_stats.mean)


def _instant(seconds: int) -> Arrays:
    return {REQUEST_TIMESTAMP: np.array([seconds], np.int64)}

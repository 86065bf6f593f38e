"""What preprocessing learns from the training rows: vocabularies, means and deviations."""

from collections.abc import Iterable, Mapping

import numpy as np

from feature_repo.columns import Arrays
from feature_repo.spec import Elapsed, Feature, Log, Standardise, Vocabulary


def learn_vocabularies(features: Iterable[Feature], rows: Arrays) -> dict[str, list[str]]:
    """Known values of every feature that owns a vocabulary, the most frequent first.

    A feature with `transform.of` adds nothing to its owner's vocabulary: ids known only from histories have no
    candidate to match.

    Args:
        features: all inputs of a model.
        rows: training rows, [n] or [n, length] each.

    Returns:
        Vocabulary by feature name, without the empty string, which stands for "nothing".
    """
    vocabularies = {}
    for feature in features:
        transform = feature.transform
        if isinstance(transform, Vocabulary) and transform.of is None:
            values, counts = np.unique(rows[feature.name].ravel().astype(str), return_counts=True)
            order = np.lexsort((values, -counts))
            known = [str(value) for value in values[order] if value]
            vocabularies[feature.name] = known[: transform.max_size]
    return vocabularies


def learn_moments(features: Iterable[Feature], rows: Arrays, timestamps: np.ndarray) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of every number that is standardised, after its logarithm.

    Args:
        features: all inputs of a model.
        rows: training rows.
        timestamps: [n] int64 unix seconds of the rows.
    """
    moments = {}
    for feature in features:
        transform = feature.transform
        if isinstance(transform, Standardise | Log | Elapsed):
            values = np.asarray(rows[feature.name], np.float64)
            if isinstance(transform, Log):
                values = np.log1p(np.maximum(values, 0.0))
            elif isinstance(transform, Elapsed):
                cap = transform.cap_days * 86_400.0
                elapsed = np.where(values > 0, np.clip(timestamps - values, 0.0, cap), cap)
                values = np.log1p(elapsed)
            # A constant has no deviation to divide by.
            moments[feature.name] = (float(values.mean()), float(values.std()) or 1.0)
    return moments


def catalogue_probability(item_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each item is some row's candidate.

    Args:
        item_ids: [n] candidates of the training rows.

    Returns:
        The distinct items [m] and their share of the rows [m], in (0, 1].
    """
    items, counts = np.unique(item_ids.astype(str), return_counts=True)
    return items, counts / counts.sum()


Moments = Mapping[str, tuple[float, float]]
"""Mean and standard deviation by feature."""

"""What preprocessing learns from the training rows: vocabularies, means and deviations."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from feature_repo.columns import Arrays
from feature_repo.spec import Elapsed, Feature, Log, Standardise, Vocabulary

Moments = Mapping[str, tuple[float, float]]
"""Mean and standard deviation by feature."""


class InputStatistics:
    """Counts and moments of the inputs of a model, gathered a part of the rows at a time.

    Args:
        features: all inputs of the model.
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        features = tuple(features)
        # A feature with `transform.of` adds nothing to its owner's vocabulary: ids known only from histories have
        # no candidate to match.
        self._owners = [f for f in features if isinstance(f.transform, Vocabulary) and f.transform.of is None]
        self._numbers = [f for f in features if isinstance(f.transform, Standardise | Log | Elapsed)]
        self._counts: dict[str, Counter[str]] = {f.name: Counter() for f in self._owners}
        self._moments: dict[str, tuple[int, float, float]] = {f.name: (0, 0.0, 0.0) for f in self._numbers}

    @property
    def features(self) -> tuple[Feature, ...]:
        """The inputs of which anything is learned."""
        return tuple(dict.fromkeys((*self._owners, *self._numbers)))

    def add(self, rows: Arrays, timestamps: np.ndarray) -> None:
        """Counts some rows.

        Args:
            rows: [n] or [n, length] each.
            timestamps: [n] int64 unix seconds of the rows.
        """
        for feature in self._owners:
            values, counts = np.unique(rows[feature.name].ravel().astype(str), return_counts=True)
            self._counts[feature.name].update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        for feature in self._numbers:
            values = _before_standardising(feature, rows[feature.name], timestamps)
            if len(values):
                self._moments[feature.name] = _merged(self._moments[feature.name], values)

    def vocabularies(self) -> dict[str, list[str]]:
        """Known values of every feature that owns a vocabulary, the most frequent first.

        The empty string, which stands for "nothing", is none of them.
        """
        return {
            f.name: [
                value
                for value, _ in sorted(self._counts[f.name].items(), key=lambda item: (-item[1], item[0]))
                if value
            ][: f.transform.max_size]
            for f in self._owners
            if isinstance(f.transform, Vocabulary)
        }

    def moments(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of every number that is standardised, after its logarithm."""
        # A constant has no deviation to divide by.
        return {
            name: (mean, float(np.sqrt(squares / max(count, 1))) or 1.0)
            for name, (count, mean, squares) in self._moments.items()
        }


def _before_standardising(feature: Feature, values: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if isinstance(feature.transform, Log):
        return np.log1p(np.maximum(values, 0.0))
    if isinstance(feature.transform, Elapsed):
        cap = feature.transform.cap_days * 86_400.0
        return np.log1p(np.where(values > 0, np.clip(timestamps - values, 0.0, cap), cap))
    return values


def _merged(moments: tuple[int, float, float], values: np.ndarray) -> tuple[int, float, float]:
    """Count, mean and sum of squared deviations with some more values.

    References:
        Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """
    count, mean, squares = moments
    more, other = len(values), float(values.mean())
    total = count + more
    shift = other - mean
    return (
        total,
        mean + shift * more / total,
        squares + float(((values - other) ** 2).sum()) + shift**2 * count * more / total,
    )

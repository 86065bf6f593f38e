"""From scores to probabilities."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

SMALLEST_SLOPE = 0.01
"""Platt scaling may flatten a score, never reverse it."""

Method = Literal["platt", "isotonic"]


class Calibration(Protocol):
    """A non-decreasing function from scores to probabilities."""

    def apply(self, scores: tf.Tensor) -> tf.Tensor:
        """Probabilities, float32 of the shape of the scores, in graph ops alone."""


class Platt(NamedTuple):
    """sigmoid(slope * score + intercept)."""

    slope: float
    intercept: float

    def apply(self, scores: tf.Tensor) -> tf.Tensor:
        """As of `Calibration`."""
        return tf.sigmoid(self.slope * scores + self.intercept)


class Isotonic(NamedTuple):
    """Linear interpolation between knots, constant beyond them.

    Attributes:
        scores: [m] float32, increasing.
        probabilities: [m] float32, non-decreasing.
    """

    scores: np.ndarray
    probabilities: np.ndarray

    def apply(self, scores: tf.Tensor) -> tf.Tensor:
        """As of `Calibration`."""
        knots, values = tf.constant(self.scores), tf.constant(self.probabilities)
        last = len(self.scores) - 1
        flat = tf.clip_by_value(tf.reshape(scores, [-1]), self.scores[0], self.scores[-1])
        above = tf.clip_by_value(tf.searchsorted(knots, flat, side="right"), min(1, last), last)
        below = tf.maximum(above - 1, 0)
        low, high = tf.gather(knots, below), tf.gather(knots, above)
        share = tf.math.divide_no_nan(flat - low, high - low)
        least, most = tf.gather(values, below), tf.gather(values, above)
        # Rounding must not carry a value past its knot: the result would decrease there.
        return tf.reshape(tf.minimum(least + share * (most - least), most), tf.shape(scores))


def fit_calibration(method: Method, scores: np.ndarray, labels: np.ndarray) -> Calibration:
    """The calibration of that name, fitted on rows that training did not see.

    Args:
        method: `platt` or `isotonic`.
        scores: [n] logits.
        labels: [n] 0 or 1.
    """
    fits: dict[str, Callable[[np.ndarray, np.ndarray], Calibration]] = {"platt": fit_platt, "isotonic": fit_isotonic}
    return fits[method](scores, labels)


def fit_platt(scores: np.ndarray, labels: np.ndarray, steps: int = 50) -> Platt:
    """Slope and intercept with which sigmoid(slope * score + intercept) is the probability of a positive.

    Args:
        scores: [n] logits of rows that training did not see.
        labels: [n] 0 or 1.
        steps: most Newton steps.

    Returns:
        slope (at least `SMALLEST_SLOPE`) and intercept.

    References:
        Platt, "Probabilistic Outputs for Support Vector Machines", 1999: targets are pulled a little from 0 and 1,
        so that a split with one class alone has a finite answer.
    """
    positives, negatives = float((labels > 0).sum()), float((labels <= 0).sum())
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    inputs = np.stack([(scores.astype(np.float64) - centre) / scale, np.ones(len(scores))], axis=1)
    weights = np.zeros(2)
    for _ in range(steps):
        predicted = 1.0 / (1.0 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (predicted - targets)
        curvature = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + 1e-6 * np.eye(2)
        change = np.linalg.solve(curvature, gradient)
        weights = weights - change
        if np.abs(change).max() < 1e-9:
            break
    slope = float(weights[0]) / scale
    if slope < SMALLEST_SLOPE:
        return Platt(SMALLEST_SLOPE, float(np.log((positives + 1) / (negatives + 1)) - SMALLEST_SLOPE * centre))
    return Platt(slope, float(weights[1]) - slope * centre)


def fit_isotonic(scores: np.ndarray, labels: np.ndarray) -> Isotonic:
    """The non-decreasing function of the score that is nearest to the labels in squared error.

    Rows of equal score count as one with their mean label. Neighbours that would decrease are pooled; of each pool
    the first and the last score become knots. A pool of one class promises neither 0 nor 1, which one mishap would
    make infinitely wrong: probabilities stay 1 / (rows + 2) away from both.

    Args:
        scores: [n] logits of rows that training did not see.
        labels: [n] 0 or 1.

    References:
        Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD 2002.
    """
    knots, place, counts = np.unique(scores.astype(np.float32), return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=labels > 0) / counts
    # Pools as stacks of [mean, rows, distinct scores]; the last takes its predecessor in while it is not above it.
    pools: list[list[float]] = []
    for mean, count in zip(means, counts, strict=True):
        pools.append([float(mean), float(count), 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            other, rows, distinct = pools.pop()
            first = pools[-1]
            total = first[1] + rows
            pools[-1] = [(first[0] * first[1] + other * rows) / total, total, first[2] + distinct]
    sizes = np.array([int(pool[2]) for pool in pools])
    ends = np.cumsum(sizes) - 1
    kept = np.unique(np.concatenate([ends - sizes + 1, ends]))
    values = np.repeat([pool[0] for pool in pools], sizes)[kept]
    margin = 1.0 / (len(scores) + 2)
    return Isotonic(knots[kept], np.clip(values, margin, 1.0 - margin).astype(np.float32))

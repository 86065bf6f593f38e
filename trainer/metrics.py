"""Metrics of retrieval and ranking, vectorised.

A query has one relevant item here (the positive that is asked for), so every ranking metric is a function of the rank
at which that item came: an array [n] of float64, 1 is first, `inf` is not there at all.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval."""

    mean: float
    low: float
    high: float


def ranks_of_targets(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Ranks of one item a row; ties are broken by the lower column, as a stable sort does.

    Args:
        scores: [n, items] float; -inf for items that are not in the row's corpus.
        targets: [n] int columns.

    Returns:
        [n] float64 ranks; inf where the target itself is not in the corpus.
    """
    rows = np.arange(len(targets))
    own = scores[rows, targets][:, None]
    before = np.arange(scores.shape[1])[None, :] < np.asarray(targets)[:, None]
    ranks = 1.0 + (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)
    return np.where(np.isneginf(own[:, 0]), np.inf, ranks)


def recall_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """[n]: 1 where the relevant item is among the first k. With one relevant item it is the hit rate too."""
    return (ranks <= k).astype(np.float64)


def ndcg_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """[n]: 1 / log2(1 + rank) where rank <= k, else 0; the ideal list has the item first."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def average_precision_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """[n]: 1 / rank where rank <= k, else 0; its mean is MAP@k."""
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


def area_under_roc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; nan where one class is absent."""
    labels = np.asarray(labels, bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = middle_ranks[inverse][labels].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def mean_user_area_under_roc(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> float:
    """Mean of each user's own area under ROC, over the users with both classes; nan where there is none.

    Args:
        labels: [n] 0 or 1.
        scores: [n].
        users: [n] the user of each row.
    """
    _, codes = np.unique(np.asarray(users).astype(str), return_inverse=True)
    order = np.lexsort((scores, codes))
    codes, values, positive = codes[order], np.asarray(scores)[order], np.asarray(labels)[order] > 0
    # Rank within the user; rows of one user with equal scores share the mean of their ranks.
    new_user = np.concatenate([[True], codes[1:] != codes[:-1]])
    new_value = new_user | np.concatenate([[True], values[1:] != values[:-1]])
    ties = np.cumsum(new_value) - 1
    ranks = np.bincount(ties, np.arange(len(codes)))[ties] / np.bincount(ties)[ties]
    ranks = ranks - np.flatnonzero(new_user)[codes] + 1.0
    positives, totals = np.bincount(codes, positive), np.bincount(codes)
    negatives = totals - positives
    both = (positives > 0) & (negatives > 0)
    rank_sums = np.bincount(codes, ranks * positive)
    areas = (rank_sums - positives * (positives + 1) / 2)[both] / (positives * negatives)[both]
    return float(areas.mean()) if both.any() else float("nan")


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    y = np.asarray(labels, np.float64)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions between two bounds: how many, what they promise, what came."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


def calibration_bins(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> list[CalibrationBin]:
    """Equal-width bins of [0, 1] that hold any prediction."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    places = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for place in np.unique(places):
        inside = places == place
        found.append(
            CalibrationBin(
                place / bins, (place + 1) / bins, int(inside.sum()), float(p[inside].mean()), float(y[inside].mean())
            )
        )
    return found


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Mean distance between predicted and observed rate over the bins, weighted by their counts."""
    found = calibration_bins(labels, probabilities, bins)
    total = sum(one.count for one in found)
    return float(sum(one.count * abs(one.predicted - one.observed) for one in found) / total) if total else float("nan")


def bootstrap_interval(
    values: np.ndarray, users: np.ndarray, samples: int, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of per-query values with a percentile interval; whole users are resampled: their queries go together.

    Args:
        values: [n] float.
        users: [n] the user of each query.
        samples: number of resamples.
        seed: of the resampling.
        level: of the interval.

    Returns:
        The mean over queries and its interval; nan where there is no query.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    _, groups = np.unique(users, return_inverse=True)
    sums = np.bincount(groups, weights=values)
    counts = np.bincount(groups)
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=samples)
    means = (draws @ sums) / np.maximum(draws @ counts, 1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(np.mean(values)), float(low), float(high))

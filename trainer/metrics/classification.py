"""How well probabilities of a positive outcome tell impressions apart, and whether they hold what they promise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def area_under_roc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; nan where one class is absent."""
    return float(roc_areas_by_weight(labels, scores)(np.ones((1, len(labels))))[0])


def roc_areas_by_weight(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The area under ROC as a function of the rows' weights; rows are sorted once.

    Args:
        labels: [n] 0 or 1.
        scores: [n].

    Returns:
        A function of weights [s, n] >= 0 that gives the areas [s], exact; nan where one class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    values, positive = np.asarray(scores)[order], np.asarray(labels, bool)[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.array([], int)

    def areas(weights: np.ndarray) -> np.ndarray:
        if not len(starts):
            return np.full(len(weights), np.nan)
        ordered = np.asarray(weights, np.float64)[:, order]
        positives = np.add.reduceat(ordered * positive, starts, axis=1)
        negatives = np.add.reduceat(ordered * ~positive, starts, axis=1)
        won = (positives * (np.cumsum(negatives, axis=1) - negatives / 2)).sum(axis=1)
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan)

    return areas


def user_areas_under_roc(labels: np.ndarray, scores: np.ndarray, users: np.ndarray, count: int) -> np.ndarray:
    """Each user's own area under ROC, ties counting half.

    Args:
        labels: [n] 0 or 1.
        scores: [n].
        users: [n] int, from 0.
        count: number of users.

    Returns:
        [count] float64; nan for a user without rows of both classes.
    """
    order = np.lexsort((scores, users))
    users, values, positive = users[order], np.asarray(scores)[order], np.asarray(labels, bool)[order]
    new = np.ones(len(users), bool)
    new[1:] = (users[1:] != users[:-1]) | (values[1:] != values[:-1])
    tie = np.cumsum(new) - 1
    # Rows of one user with equal scores share the mean of their ranks; ranks of a user start at 1.
    places = np.arange(1.0, len(users) + 1)
    rows = np.bincount(users, minlength=count)
    ranks = (np.bincount(tie, places) / np.bincount(tie))[tie] - (np.cumsum(rows) - rows)[users]
    positives = np.bincount(users, positive, minlength=count)
    pairs = positives * (rows - positives)
    won = np.bincount(users, ranks * positive, minlength=count) - positives * (positives + 1) / 2
    return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan)


def mean_user_area_under_roc(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> float:
    """Mean of the users' own areas under ROC, users with both classes counting alike; nan where there is none.

    What only tells users apart lifts the area over all rows and leaves this one as it is.

    Args:
        labels: [n] 0 or 1.
        scores: [n].
        users: [n] the user of each row.
    """
    ids, codes = np.unique(np.asarray(users).astype(str), return_inverse=True)
    areas = user_areas_under_roc(labels, scores, codes, len(ids))
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """[n] negative log-likelihood in nats; probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    y = np.asarray(labels, np.float64)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of `log_losses`."""
    return float(np.mean(log_losses(labels, probabilities)))


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
    places = bin_places(p, bins)
    counts = np.bincount(places, minlength=bins)
    predicted, observed = np.bincount(places, p, minlength=bins), np.bincount(places, y, minlength=bins)
    return [
        CalibrationBin(
            place / bins,
            (place + 1) / bins,
            int(counts[place]),
            float(predicted[place] / counts[place]),
            float(observed[place] / counts[place]),
        )
        for place in np.flatnonzero(counts)
    ]


def bin_places(probabilities: np.ndarray, bins: int = 10) -> np.ndarray:
    """[n] int: the equal-width bin of [0, 1] that each probability falls in."""
    return np.minimum((np.asarray(probabilities, np.float64) * bins).astype(int), bins - 1)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Mean distance between predicted and observed rate over the bins, weighted by their counts."""
    found = calibration_bins(labels, probabilities, bins)
    total = sum(one.count for one in found)
    return float(sum(one.count * abs(one.predicted - one.observed) for one in found) / total) if total else float("nan")

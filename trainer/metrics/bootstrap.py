"""Bootstrap over users: whole users are resampled, so that what one user did goes together.

All estimates of one `UserBootstrap` come from the same resamples, which pairs them: the resamples of a difference are
the differences of the resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

_ELEMENTS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A statistic of the rows, and of every resample of them.

    Attributes:
        value: of the rows as they are; nan where there is nothing to take it of.
        resamples: [samples] the statistic of each resample; nan where the resample has nothing.
    """

    value: float
    resamples: np.ndarray

    def interval(self, level: float = 0.95) -> Interval:
        """The value with its percentile interval, whose bounds are nan where no resample has a number."""
        known = self.resamples[~np.isnan(self.resamples)]
        if not len(known):
            return Interval(self.value, float("nan"), float("nan"))
        tail = (1 - level) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Interval(self.value, float(low), float(high))

    def centred(self) -> "Estimate":
        """A share whose resamples are moved so that their mean is the value, and kept within [0, 1].

        A resample has fewer different users than the data, by which coverage falls and Gini and calibration error rise
        in every one of them: that shift is of the method, not of the data.
        """
        known = self.resamples[~np.isnan(self.resamples)]
        if not len(known):
            return self
        return replace(self, resamples=np.clip(self.resamples + (self.value - known.mean()), 0.0, 1.0))

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The paired difference of two estimates of one bootstrap."""
        return Estimate(self.value - other.value, self.resamples - other.resamples)


class UserBootstrap:
    """Resamples of the users of some rows."""

    def __init__(self, users: np.ndarray, samples: int, seed: int = 0) -> None:
        """Draws the resamples.

        Args:
            users: [n] the user of each row.
            samples: number of resamples.
            seed: of the draws.
        """
        ids, self.codes = np.unique(np.asarray(users).astype(str), return_inverse=True)
        self.users = len(ids)
        random = np.random.default_rng(seed)
        # How often each user is in each resample; a byte is plenty: the counts are nearly Poisson with mean 1.
        self._draws = np.zeros((samples, self.users), np.uint8)
        for row in self._draws if self.users else ():
            row[:] = np.bincount(random.integers(self.users, size=self.users), minlength=self.users)

    def ratios(self, numerators: np.ndarray, denominators: np.ndarray) -> list[Estimate]:
        """Sums over users divided by sums over users. One user alone cannot be resampled: there is no interval then.

        Args:
            numerators: [users, m] by user, in the order of `codes`.
            denominators: [users, m].
        """
        above, below = self.resample(numerators), self.resample(denominators)
        known = (below > 0) & ((denominators > 0).sum(axis=0) > 1)
        resamples = np.where(known, above / np.where(below > 0, below, 1.0), np.nan)
        totals, bases = numerators.sum(axis=0), denominators.sum(axis=0)
        values = np.where(bases > 0, totals / np.where(bases > 0, bases, 1.0), np.nan)
        return [Estimate(float(value), column) for value, column in zip(values, resamples.T, strict=True)]

    def means(self, values: np.ndarray, rows: np.ndarray | None = None) -> list[Estimate]:
        """Means over rows of several values; a value that is nan does not count.

        Args:
            values: [n, m] float.
            rows: [n] bool, the rows that count; all when absent.
        """
        counted = ~np.isnan(values)
        if rows is not None:
            counted &= rows[:, None]
        return self.ratios(self.sums(np.where(counted, values, 0.0)), self.sums(counted.astype(np.float64)))

    def mean(self, values: np.ndarray, rows: np.ndarray | None = None) -> Estimate:
        """Mean over rows of one value [n]."""
        return self.means(np.asarray(values, np.float64)[:, None], rows)[0]

    def statistic(self, of_weights: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """Any statistic of weighted rows.

        Args:
            of_weights: takes weights [s, n] of the rows and gives the statistic [s].
        """
        return self.statistics(lambda weights: of_weights(weights)[:, None])[0]

    def statistics(self, of_weights: Callable[[np.ndarray], np.ndarray]) -> list[Estimate]:
        """Several statistics that are found together: `of_weights` gives [s, m]."""
        values = of_weights(np.ones((1, len(self.codes))))[0]
        step = max(1, _ELEMENTS_AT_ONCE // max(1, len(self.codes)))
        parts = [
            of_weights(self._draws[start : start + step][:, self.codes]) for start in range(0, len(self._draws), step)
        ]
        return [Estimate(float(v), column) for v, column in zip(values, np.concatenate(parts).T, strict=True)]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[users, m] sums over each user's rows of values [n, m]."""
        return np.stack([np.bincount(self.codes, column, minlength=self.users) for column in values.T], axis=1)

    def resample(self, columns: np.ndarray) -> np.ndarray:
        """[samples, m] sums over the users of each resample of values by user [users, m]."""
        step = max(1, _ELEMENTS_AT_ONCE // max(1, self.users))
        return np.concatenate(
            [
                self._draws[start : start + step].astype(np.float64) @ columns
                for start in range(0, len(self._draws), step)
            ]
        )


def bootstrap_interval(
    values: np.ndarray, users: np.ndarray, samples: int, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of per-query values with a percentile interval over users.

    Args:
        values: [n] float.
        users: [n] the user of each query.
        samples: number of resamples.
        seed: of the resampling.
        level: of the interval.

    Returns:
        The mean over queries and its interval; nan where there is no query.
    """
    return UserBootstrap(users, samples, seed).mean(values).interval(level)

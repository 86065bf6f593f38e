"""Metrics of retrieval, ranking and calibration, and their intervals.

The ranking metrics are for queries with one relevant item each, of which the rank is known: 0 is the top.
"""

import numpy as np


def target_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of each query's relevant item.

    Among equal scores the relevant item is taken to be in the middle, so that a constant score is worth what
    chance is.

    Args:
        scores: [n, m] float; -inf for what is not in the corpus.
        targets: [n] column of the relevant item.

    Returns:
        [n] int64, 0-based.
    """
    own = scores[np.arange(len(scores)), targets][:, None]
    return (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) // 2


def ndcg_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """[n] normalised discounted cumulative gain: 1 / log2(rank + 2) within the top k, else 0."""
    _check_k(k)
    return np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0)


def recall_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """[n] 1 where the relevant item is within the top k."""
    _check_k(k)
    return (ranks < k).astype(np.float64)


def average_precision_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """[n] average precision: 1 / (rank + 1) within the top k, else 0."""
    _check_k(k)
    return np.where(ranks < k, 1.0 / (ranks + 1.0), 0.0)


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN if either is absent."""
    positive = labels > 0
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2.0
    return float((mean_rank[inverse][positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log likelihood, in nats."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels > 0, np.log(clipped), np.log1p(-clipped))))


def calibration_table(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """What was promised against what came, by equal spans of probability.

    Returns:
        For each span that holds a row: `from`, `to`, `rows`, `predicted` and `observed` means.
    """
    places = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    table = []
    for place in range(bins):
        here = places == place
        if here.any():
            table.append(
                {
                    "from": place / bins,
                    "to": (place + 1) / bins,
                    "rows": int(here.sum()),
                    "predicted": float(probabilities[here].mean()),
                    "observed": float((labels[here] > 0).mean()),
                }
            )
    return table


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Mean distance between promised and observed rates over the spans, weighted by rows, in [0, 1]."""
    table = calibration_table(labels, probabilities, bins)
    return sum(row["rows"] * abs(row["predicted"] - row["observed"]) for row in table) / len(labels)


class UserBootstrap:
    """Intervals of means over queries, with users resampled: the queries of one user are not independent.

    Args:
        user_ids: [n] user of each query.
        samples: how often users are drawn with replacement.
        seed: of the draws.
    """

    def __init__(self, user_ids: np.ndarray, samples: int, seed: int = 0) -> None:
        self._users, self._codes = np.unique(user_ids.astype(object), return_inverse=True)
        size = len(self._users)
        self._weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1.0 / size), samples)
        self._samples = self._weights @ np.bincount(self._codes, minlength=size)

    def interval(self, values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the mean.

        Args:
            values: [n] metric of each query; for a paired comparison the difference of two.
            level: in (0, 1).
        """
        totals = np.bincount(self._codes, weights=values, minlength=len(self._users))
        means = (self._weights @ totals) / self._samples
        tail = (1.0 - level) / 2.0
        low, high = np.quantile(means, [tail, 1.0 - tail])
        return float(low), float(high)


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"`k` must be >= 1. Received: k={k}.")

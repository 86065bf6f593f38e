"""Metrics of ranked answers, functions of the ranks at which relevant items came.

Ranks are float64: 1 is first, `inf` is not there at all. They come as [n], one relevant item a query, or as [n, r],
several: a query with fewer than r is filled with nan, the order within a row does not matter. Every metric gives one
value a query, [n]; nan where a query has no relevant item.
"""

import numpy as np


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


def ranks_of_relevant(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Ranks of every relevant item of a row; ties are broken by the lower column.

    Args:
        scores: [n, items] float; -inf for items that are not in the row's corpus.
        relevant: [n, items] bool.

    Returns:
        [n, r] float64 ranks in ascending order, r being the most relevant items of any row; inf where an item is not in
        the corpus, nan where a row has fewer.
    """
    places = np.empty(scores.shape)
    np.put_along_axis(places, np.argsort(-scores, axis=1, kind="stable"), np.arange(1.0, scores.shape[1] + 1), axis=1)
    places[np.isneginf(scores)] = np.inf
    places[~np.asarray(relevant, bool)] = np.nan
    width = int(np.sum(relevant, axis=1).max(initial=0))
    # nan sorts behind inf.
    return np.sort(places, axis=1)[:, :width]


def recall_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """Share of the relevant items that are among the first k."""
    return _share((_rows(ranks) <= k).sum(axis=1), ranks)


def hit_rate_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 where any relevant item is among the first k. With one relevant item it is the recall."""
    return np.where(_relevant(ranks) > 0, (_rows(ranks) <= k).any(axis=1), np.nan)


def reciprocal_rank_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 / rank of the first relevant item where that is <= k, else 0; its mean is MRR@k."""
    rows = _rows(ranks)
    first = np.where(np.isnan(rows), np.inf, rows).min(axis=1, initial=np.inf)
    return np.where(_relevant(ranks) > 0, np.where(first <= k, 1.0 / first, 0.0), np.nan)


def ndcg_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """Sum of 1 / log2(1 + rank) over ranks <= k, divided by that of a list with all relevant items first."""
    rows = _rows(ranks)
    gains = np.where(rows <= k, 1.0 / np.log2(1.0 + rows), 0.0).sum(axis=1)
    ideal = np.cumsum(1.0 / np.log2(1.0 + np.arange(1.0, k + 1)))
    count = _relevant(ranks)
    return np.where(count > 0, gains / ideal[np.clip(count, 1, k) - 1], np.nan)


def average_precision_at_k(ranks: np.ndarray, k: int) -> np.ndarray:
    """Sum of the precision at each relevant rank <= k, divided by the number of relevant items; its mean is MAP@k."""
    rows = np.sort(_rows(ranks), axis=1)
    hits = np.arange(1.0, rows.shape[1] + 1)
    return _share(np.where(rows <= k, hits / rows, 0.0).sum(axis=1), ranks)


def _rows(ranks: np.ndarray) -> np.ndarray:
    ranks = np.asarray(ranks, np.float64)
    return ranks[:, None] if ranks.ndim == 1 else ranks


def _relevant(ranks: np.ndarray) -> np.ndarray:
    """[n] number of relevant items of each query."""
    return (~np.isnan(_rows(ranks))).sum(axis=1)


def _share(sums: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    count = _relevant(ranks)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)

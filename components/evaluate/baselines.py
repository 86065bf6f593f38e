"""Popularity as of each query's instant: what a model has to beat."""

from collections.abc import Sequence

import numpy as np

from components.evaluate.window import Window
from trainer.candidates import QUERIES_AT_ONCE
from trainer.metrics import ndcg_at_k, target_ranks


def popularity_ranks(window: Window, recent_days: float | None = None) -> np.ndarray:
    """Rank of each query's item when its corpus is ordered by how often items were engaged with before.

    Counted twice, over positive and over all events; the count with the better NDCG@10 is the baseline.

    Args:
        window: n queries.
        recent_days: trailing window; all of the past when absent.

    Returns:
        [n] int64 ranks, 0-based.
    """
    ranked = [_ranks(window, instants, recent_days) for instants in (window.positive_instants, window.event_instants)]
    return max(ranked, key=lambda ranks: float(ndcg_at_k(ranks, 10).mean()))


def _ranks(window: Window, item_instants: Sequence[np.ndarray], recent_days: float | None) -> np.ndarray:
    queries = window.queries
    span = None if recent_days is None else int(recent_days * 86_400_000_000)
    ranks = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE * 4):
        rows = np.arange(start, min(start + QUERIES_AT_ONCE * 4, len(queries)))
        at = queries.instants[rows]
        counts = np.empty((len(rows), len(item_instants)), np.float32)
        for item, instants in enumerate(item_instants):
            counts[:, item] = np.searchsorted(instants, at, side="left")
            if span is not None:
                counts[:, item] -= np.searchsorted(instants, at - span, side="left")
        targets = window.targets[rows]
        seen_rows, seen_items = window.engagements.before(queries.user_ids[rows], at)
        filtered = seen_items != targets[seen_rows]
        counts[seen_rows[filtered], seen_items[filtered]] = -np.inf
        ranks[rows] = target_ranks(counts, targets)
    return ranks

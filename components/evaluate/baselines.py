"""Popularity, counted as of the same instant as the models see: what a funnel has to beat."""

import numpy as np

from components.evaluate.moments import Moments, PastEvents
from trainer.metrics import ranks_of_targets


def popularity_ranks(
    moments: Moments, targets: tuple[np.ndarray, np.ndarray], events: PastEvents, items: int, window_days: float | None
) -> np.ndarray:
    """Ranks of the queries' items when items are ordered by their number of positive events.

    Args:
        moments: of the test window, ordered by time.
        targets: ([n] moment, [n] catalogue row) of the queries.
        events: all events; those strictly before a moment count, and with `window_days` those not older than it.
        items: size of the catalogue.
        window_days: trailing window; all of the past when None.

    Returns:
        [n] float64 ranks.
    """
    positive = np.flatnonzero(events.positive)
    times, rows = events.timestamps[positive], events.items[positive]
    counts = np.zeros(items)
    window = None if window_days is None else round(window_days * 86400e6)
    entered = left = 0
    ranks = np.full(len(targets[0]), np.inf)
    bounds = np.searchsorted(targets[0], np.arange(len(moments.users) + 1))
    for moment, now in enumerate(moments.timestamps):
        until = np.searchsorted(times, now, side="left")
        np.add.at(counts, rows[entered:until], 1)
        entered = until
        if window is not None:
            gone = np.searchsorted(times, now - window, side="left")
            np.subtract.at(counts, rows[left:gone], 1)
            left = gone
        start, end = bounds[moment], bounds[moment + 1]
        if start < end:
            scores = counts.copy()
            scores[moments.excluded[moment]] = -np.inf
            ranks[start:end] = ranks_of_targets(np.tile(scores, (end - start, 1)), targets[1][start:end])
    return ranks

"""Popularity, of all of the past and of a trailing window."""

import time

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Phase, Problem
from tests.benchmarks.quality.ranks import ranks_of_pairs

DAY_MICROSECONDS = 86_400_000_000


def counts_at(phase: Phase, items: int, days: float | None) -> np.ndarray:
    """[moments, items] positives of everybody before each moment.

    Args:
        phase: the round; moments ordered by time.
        items: size of the catalogue.
        days: trailing window; all of the past when None.
    """
    rows = np.flatnonzero(phase.visible.positives)
    times, of_item = phase.visible.times[rows], phase.visible.items[rows]
    counts = np.zeros((len(phase.users), items), np.float32)
    running = np.zeros(items, np.float32)
    entered = left = 0
    for moment, now in enumerate(phase.times):
        until = np.searchsorted(times, now, side="left")
        np.add.at(running, of_item[entered:until], 1)
        entered = until
        if days is not None:
            gone = np.searchsorted(times, now - round(days * DAY_MICROSECONDS), side="left")
            np.subtract.at(running, of_item[left:gone], 1)
            left = gone
        counts[moment] = running
    return counts


def _all_of_it(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    """All positives that may be known: those of the log, and what came since where time goes on."""
    begun = time.perf_counter()
    if phase.moves_on:
        counts = counts_at(phase, problem.items, None)
    else:
        total = np.bincount(phase.log.items[phase.log.positives], minlength=problem.items)
        counts = np.tile(total.astype(np.float32), (len(phase.users), 1))
    seconds = time.perf_counter() - begun
    return Answer({"popularity": ranks_of_pairs(phase, counts.__getitem__)}, seconds)


def _recent(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    begun = time.perf_counter()
    counts = counts_at(phase, problem.items, params["days"])
    seconds = time.perf_counter() - begun
    return Answer({"recent popularity": ranks_of_pairs(phase, counts.__getitem__)}, seconds)


POPULARITY = Contestant("popularity", _all_of_it, {}, {})
RECENT_POPULARITY = Contestant("recent popularity", _recent, {"days": 30}, {"days": (1, 3, 7, 14, 30, 60, 90)})

"""How interactions are parted into what is learned from and what is asked for."""

from collections.abc import Callable

import numpy as np

from tests.benchmarks.quality.problem import Log, Phase

FEWEST_POSITIVES = 3
"""A user with fewer keeps them all in training: something must be left to learn from."""

HeldOut = Callable[[int], tuple[int, int]]
"""How many of a user's last positives are validation and test, given how many there are."""


def last_one(positives: int) -> tuple[int, int]:
    """Leave-last-one-out: the last positive is test, the one before it validation."""
    return (1, 1) if positives >= FEWEST_POSITIVES else (0, 0)


def last_tenth(positives: int) -> tuple[int, int]:
    """The last tenth of the positives is test, the last tenth of the rest validation; at least one each."""
    if positives < FEWEST_POSITIVES:
        return 0, 0
    test = max(1, positives // 10)
    return max(1, (positives - test) // 10), test


def split_by_user(log: Log, held_out: HeldOut) -> tuple[Phase, Phase]:
    """Validation and test rounds where each user's last positives are held out.

    A user's interactions from the first held-out positive on are out of the round's log, so nothing later than a
    query's instant is in its history; other users' later interactions stay, as they are everyone's training data.

    Args:
        log: all interactions.
        held_out: how many positives of a user are held out.
    """
    order = np.argsort(log.users, kind="stable")
    _, starts = np.unique(log.users[order], return_index=True)
    # Each user's rows: [0, validation_start) train, [validation_start, test_start) validation, then test.
    train, validation, test = [], [], []
    for rows in np.split(order, starts[1:]):
        positive = np.flatnonzero(log.positives[rows])
        of_validation, of_test = held_out(len(positive))
        if not of_test:
            train.append(rows)
            continue
        first_validation = positive[len(positive) - of_test - of_validation]
        first_test = positive[len(positive) - of_test]
        train.append(rows[:first_validation])
        validation.append(rows[first_validation:first_test])
        test.append(rows[first_test:])
    known = np.sort(np.concatenate(train))
    more = np.sort(np.concatenate([*train, *validation]))
    return _ask_users(log, known, validation), _ask_users(log, more, test)


def _ask_users(log: Log, known: np.ndarray, asked: list[np.ndarray]) -> Phase:
    """One query a user, at the instant of the first item asked for, with all of the user's known rows as history."""
    learned = log.take(known)
    order = np.argsort(learned.users, kind="stable")
    bounds = np.searchsorted(learned.users[order], np.arange(int(log.users.max()) + 2))
    users = np.array([log.users[rows[0]] for rows in asked], np.int64)
    # What happened in the same second and came before counts as known: hence the microsecond.
    times = np.array([log.times[rows[0]] + 1 for rows in asked], np.int64)
    by_time = np.lexsort((users, times))
    users, times = users[by_time], times[by_time]
    kept = [order[bounds[user] : bounds[user + 1]] for user in users]
    pairs = [asked[place][log.positives[asked[place]]] for place in by_time]
    places = np.repeat(np.arange(len(users)), [len(rows) for rows in pairs])
    return Phase(
        log=learned,
        visible=learned,
        users=users,
        times=times,
        history_starts=_starts(kept),
        history_rows=_joined(kept),
        pair_moments=places,
        pair_items=log.items[_joined(pairs)],
        pair_queries=places.copy(),
    )


def split_by_time(log: Log, first_validation: int, first_test: int) -> tuple[Phase, Phase]:
    """Rounds of a global time split: every positive of a window is a query, with what came strictly before it.

    Args:
        log: all interactions.
        first_validation, first_test: unix microseconds at which the windows start.
    """
    end = int(log.times.max()) + 1
    return _ask_window(log, first_validation, first_test), _ask_window(log, first_test, end)


def _ask_window(log: Log, begin: int, end: int) -> Phase:
    order = np.argsort(log.users, kind="stable")
    bounds = np.searchsorted(log.users[order], np.arange(int(log.users.max()) + 2))
    inside = np.flatnonzero((log.times >= begin) & (log.times < end) & log.positives)
    inside = inside[np.lexsort((log.items[inside], log.users[inside], log.times[inside]))]
    users, times = log.users[inside], log.times[inside]
    starts = np.ones(len(inside), bool)
    starts[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
    moment_users, moment_times = users[starts], times[starts]
    kept = []
    for user, time in zip(moment_users, moment_times, strict=True):
        rows = order[bounds[user] : bounds[user + 1]]
        kept.append(rows[: np.searchsorted(log.times[rows], time, side="left")])
    pair_moments = np.cumsum(starts) - 1
    pair_items = log.items[inside]
    # An item that the user already had is no query.
    fresh = np.array(
        [item not in log.items[kept[moment]] for moment, item in zip(pair_moments, pair_items, strict=True)], bool
    )
    pair_moments, pair_items = pair_moments[fresh], pair_items[fresh]
    return Phase(
        log=log.take(log.times < begin),
        visible=log,
        users=moment_users,
        times=moment_times,
        history_starts=_starts(kept),
        history_rows=_joined(kept),
        pair_moments=pair_moments,
        pair_items=pair_items,
        pair_queries=np.arange(len(pair_items)),
    )


def sample_queries(phase: Phase, most: int, seed: int) -> Phase:
    """The same round with at most so many queries, drawn at random; all moments stay."""
    queries = np.unique(phase.pair_queries)
    if len(queries) <= most:
        return phase
    chosen = np.random.default_rng(seed).choice(queries, most, replace=False)
    kept = np.isin(phase.pair_queries, chosen)
    # Moments that nobody asks about any more would only cost time.
    moments, pair_moments = np.unique(phase.pair_moments[kept], return_inverse=True)
    histories = [phase.history_rows[phase.history_starts[m] : phase.history_starts[m + 1]] for m in moments]
    return Phase(
        log=phase.log,
        visible=phase.visible,
        users=phase.users[moments],
        times=phase.times[moments],
        history_starts=_starts(histories),
        history_rows=_joined(histories),
        pair_moments=pair_moments,
        pair_items=phase.pair_items[kept],
        pair_queries=np.unique(phase.pair_queries[kept], return_inverse=True)[1],
    )


def _starts(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)

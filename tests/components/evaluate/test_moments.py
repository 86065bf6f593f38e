from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.evaluate.baselines import popularity_ranks
from components.evaluate.moments import find_moments, read_events
from feature_repo.tables import TIMESTAMP

CATALOGUE = pa.array(["a", "b", "c", "d"])
DAY = 86_400_000_000


def times(*days: float) -> pa.Array:
    return pa.array([round(day * DAY) for day in days], pa.int64()).cast(TIMESTAMP)


@pytest.fixture
def events():
    return read_events(
        pa.table(
            {
                "user_id": ["u", "v", "u", "v", "u", "w"],
                "item_id": ["a", "a", "b", "c", "d", "c"],
                "timestamp": times(1, 2, 8, 9, 9, 9.5),
                "positive": [True, True, False, True, True, True],
            }
        ),
        CATALOGUE,
    )


@pytest.fixture
def moments(events):
    impressions = pa.table(
        {
            "user_id": ["v", "u", "v", "u"],
            "item_id": ["c", "d", "d", "a"],
            "timestamp": times(9, 9, 9, 10),
            "label": pa.array([1, 1, 0, 1], pa.int8()),
        }
    )
    return find_moments(impressions, events, CATALOGUE)


def test_impressions_of_one_user_at_one_instant_are_one_moment(moments):
    assert moments.users.tolist() == ["u", "v", "u"]
    assert [items.tolist() for items in moments.impressions] == [[3], [2, 3], [0]]
    assert [labels.tolist() for labels in moments.labels] == [[1], [1, 0], [1]]


def test_a_moment_sees_only_what_came_strictly_before_it(moments):
    # On day 9 `u` has engaged with a and b; d comes at that very instant. On day 10 it has d as well.
    assert [seen.tolist() for seen in moments.seen] == [[0, 1], [0], [0, 1, 3]]
    assert moments.past_positives.tolist() == [1, 1, 2]


def test_queries_are_positives_that_the_user_did_not_have(moments):
    # The third moment's positive, item a, was engaged with on day 1.
    where, targets = moments.queries()
    assert list(zip(where.tolist(), targets.tolist(), strict=True)) == [(0, 3), (1, 2)]


def test_what_a_user_had_is_asked_for_where_items_are_consumed_repeatedly(moments, events):
    repeated = replace(moments, repeat=True)
    where, targets = repeated.queries()
    assert list(zip(where.tolist(), targets.tolist(), strict=True)) == [(0, 3), (1, 2), (2, 0)]
    assert repeated.had(where, targets).tolist() == [False, False, True]
    assert [excluded.tolist() for excluded in repeated.excluded] == [[], [], []]
    assert [excluded.tolist() for excluded in moments.excluded] == [[0, 1], [0], [0, 1, 3]]
    # Before day 9: a 2 positives, others none: a, b, c, d for both. Before day 10: a 2, c 2, d 1; a comes first.
    assert popularity_ranks(repeated, repeated.queries(), events, 4, None).tolist() == [4, 3, 1]


def test_events_of_an_item_are_counted_strictly_before_the_instant(events):
    items = np.array([0, 0, 0, 2, 2, 1])
    instants = np.array([1, 1.5, 20, 9.5, 9.6, 0]) * DAY
    # a: days 1 and 2; c: days 9 and 9.5; b: day 8.
    assert events.count_of_items_before(items, instants.astype(np.int64)).tolist() == [0, 1, 2, 1, 2, 0]
    assert events.count_before(np.array([9 * DAY])).tolist() == [3]
    assert events.first_of_items(5).tolist() == [DAY, 8 * DAY, 9 * DAY, 9 * DAY, np.iinfo(np.int64).max]


def test_popularity_counts_positives_before_the_instant_and_leaves_seen_items_out(moments, events):
    # Before day 9: a 2 positives, others none. u: c and d tie at 0, c comes first -> d is 2nd. v: b, c, d -> c is 2nd.
    assert popularity_ranks(moments, moments.queries(), events, 4, None).tolist() == [2, 2]


def test_popularity_forgets_what_left_the_window(events):
    impressions = pa.table(
        {
            "user_id": ["x", "x"],
            "item_id": ["c", "c"],
            "timestamp": times(9.25, 9.75),
            "label": pa.array([1, 1], pa.int8()),
        }
    )
    moments = find_moments(impressions, events, CATALOGUE)
    # All of the past: a has 2, c 1 then 2 (tie, a comes first). Last day: c 1 and d 1 (c first), then c 2.
    assert popularity_ranks(moments, moments.queries(), events, 4, None).tolist() == [2, 2]
    assert popularity_ranks(moments, moments.queries(), events, 4, 1.0).tolist() == [1, 1]


def test_event_on_the_edge_of_the_window_still_counts():
    past = pa.table({"user_id": ["v"], "item_id": ["d"], "timestamp": times(2), "positive": [True]})
    events = read_events(past, CATALOGUE)
    impressions = pa.table(
        {"user_id": ["x"], "item_id": ["d"], "timestamp": times(9), "label": pa.array([1], pa.int8())}
    )
    moments = find_moments(impressions, events, CATALOGUE)
    # Seven days before day 9 is day 2: d counts there, and one tenth of a day later it no longer does.
    assert popularity_ranks(moments, moments.queries(), events, 4, 7.0).tolist() == [1]
    assert popularity_ranks(moments, moments.queries(), events, 4, 6.9).tolist() == [4]


def test_events_of_items_outside_the_catalogue_are_left_out():
    table = pa.table({"user_id": ["u", "u"], "item_id": ["z", "b"], "timestamp": times(1, 2), "positive": [True, True]})
    assert read_events(table, CATALOGUE).items.tolist() == [1]
    assert read_events(table, CATALOGUE).timestamps.tolist() == [2 * DAY]
    assert np.array_equal(read_events(table, CATALOGUE).positive, [True])

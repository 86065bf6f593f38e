from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.evaluate.config import EvaluateConfig
from components.evaluate.moments import PastEvents, find_moments
from components.evaluate.slices import HEAD, MIDDLE, TAIL, find_slices, popularity_buckets
from feature_repo.errors import ConfigError
from feature_repo.tables import TIMESTAMP
from tests.trainer.tiny_tables import SPEC

DAY = 86_400_000_000
CATALOGUE = pa.array(["a", "b", "c", "d"])
CONFIG = EvaluateConfig(segments=("city",), item_refresh_seconds=86_400)


def past(*rows: tuple[float, str, int, bool]) -> PastEvents:
    days, users, items, positive = zip(*rows, strict=True)
    return PastEvents(
        timestamps=np.array([round(day * DAY) for day in days]),
        items=np.array(items),
        users=np.array(users, object),
        positive=np.array(positive),
    )


# User u has six positives of six before day 100; v has one event, no positive; nobody knows w. Item c comes on day 99,
# d within the window.
EVENTS = past(
    (1, "u", 0, True),
    (2, "u", 0, True),
    (3, "u", 0, True),
    (4, "u", 0, True),
    (5, "u", 0, True),
    (60, "v", 1, False),
    (99, "u", 2, True),
    (101, "w", 3, True),
    (103, "u", 3, True),
)


@pytest.fixture
def moments():
    impressions = pa.table(
        {
            "user_id": ["u", "v", "w", "u"],
            "item_id": ["b", "a", "d", "d"],
            "timestamp": pa.array([day * DAY for day in (100, 100, 101, 103)], pa.int64()).cast(TIMESTAMP),
            "label": pa.array([1, 0, 1, 1], pa.int8()),
            "city": ["Ulm", None, "Bern", "Ulm"],
        }
    )
    return find_moments(impressions, EVENTS, CATALOGUE)


@pytest.fixture
def found(moments):
    slices = find_slices(CONFIG, SPEC, moments, moments.queries(), EVENTS, 4)
    return {part.name: (part.queries.tolist(), part.impressions.tolist()) for part in slices}


# Queries: u-b, w-d, u-d. Impressions: u-b, v-a, w-d, u-d.
def test_users_are_told_apart_by_what_they_liked_before(found):
    assert found["users with 0 past positives"] == ([False, True, False], [False, True, True, False])
    assert found["users with 1 to 5 past positives"] == ([False] * 3, [False] * 4)
    assert found["users with 6 to 20 past positives"] == ([True, False, True], [True, False, False, True])
    assert found["users with more than 20 past positives"] == ([False] * 3, [False] * 4)
    # v has an event without liking it: not cold.
    assert found["users without past events"] == ([False, True, False], [False, False, True, False])


def test_items_are_told_apart_by_their_age_as_of_the_instant(found):
    # b is 40 days old on day 100, d new on day 101 and 2 days old on day 103.
    assert found["items 30 to 90 days old"] == ([True, False, False], [True, False, False, False])
    assert found["items without past events"][0] == [False, True, False]
    assert found["items up to 7 days old"][0] == [False, False, True]
    assert found["items more than 90 days old"] == ([False] * 3, [False, True, False, False])
    # d alone has its first event in the window, whenever it is asked for.
    assert found["items that first appear in the test window"][0] == [False, True, True]


def test_every_pair_falls_into_one_slice_of_a_family(moments):
    slices = find_slices(CONFIG, SPEC, moments, moments.queries(), EVENTS, 4)
    for family in ("history", "item_popularity", "item_age", "city"):
        assert sum(part.queries.astype(int) for part in slices if part.family == family).tolist() == [1, 1, 1]
        assert sum(part.impressions.astype(int) for part in slices if part.family == family).tolist() == [1] * 4


def test_segments_are_the_values_of_a_feature(found):
    assert found["city = Ulm"][0] == [True, False, True]
    assert found["city = (missing)"] == ([False] * 3, [False, True, False, False])


@pytest.mark.parametrize("name", ["nowhere", "age"])
def test_segment_that_is_no_category_is_refused(moments, name):
    with pytest.raises(ConfigError, match=f"groups by '{name}'.*Name one of: city"):
        find_slices(EvaluateConfig(segments=(name,)), SPEC, moments, moments.queries(), EVENTS, 4)


def test_repeated_and_new_items_are_told_apart_where_items_repeat(moments, found):
    assert "items new to the user" not in found
    repeated = replace(moments, repeat=True)
    repeated.seen[3] = np.array([0, 2, 3])
    slices = {part.name: part for part in find_slices(CONFIG, SPEC, repeated, repeated.queries(), EVENTS, 4)}
    assert slices["items the user had before"].queries.tolist() == [False, False, True]
    assert slices["items new to the user"].queries.tolist() == [True, True, False]


def test_head_items_have_half_of_the_past_events():
    # Ten events before day 2: a 5, b 3, c 1, d 1 -> a reaches half, b and then the first of c and d four fifths.
    rows = [(1, "u", item, True) for item in (0, 0, 0, 0, 0, 1, 1, 1, 2, 3)]
    events = past(*rows, (2.5, "u", 3, True))
    instants = np.full(5, 2 * DAY + DAY // 4)
    assert popularity_buckets(events, 5, np.arange(5), instants, 86_400).tolist() == [HEAD, MIDDLE, TAIL, TAIL, TAIL]


def test_popularity_is_that_of_the_last_refresh_before_the_instant():
    events = past((1, "u", 0, True), (2.5, "u", 1, True), (2.6, "u", 1, True), (2.7, "u", 1, True))
    rows = np.array([0, 1, 0, 1])
    instants = np.array([2.9, 2.9, 3.1, 3.1]) * DAY
    # Taken on day 2, item 1 has no event yet; taken on day 3 it has three of four.
    found = popularity_buckets(events, 2, rows, instants.astype(np.int64), 86_400)
    assert found.tolist() == [HEAD, TAIL, MIDDLE, HEAD]

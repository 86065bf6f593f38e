import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.tables import TIMESTAMP
from trainer.engagements import Engagements
from trainer.negatives import sample_negatives


@pytest.fixture
def engagements():
    users = np.array(["a", "a", "b", "a", "b", "b"], object)
    items = np.array([3, 1, 3, 1, 0, -1])
    return Engagements(users, items, np.array([10, 20, 20, 30, 40, 5]))


def pairs(engagements, users, instants):
    rows, items = engagements.before(np.array(users, object), np.array(instants))
    return sorted(zip(rows.tolist(), items.tolist(), strict=True))


def test_before_is_strict(engagements):
    assert pairs(engagements, ["a", "a", "a"], [10, 11, 21]) == [(1, 3), (2, 1), (2, 3)]


def test_a_repeated_engagement_counts_once_and_unknown_items_and_users_not_at_all(engagements):
    assert pairs(engagements, ["a", "b", "nobody"], [99, 99, 99]) == [(0, 1), (0, 3), (1, 0), (1, 3)]


def test_includes_counts_the_instant_itself(engagements):
    users, instants = np.array(["a", "b", "nobody"], object), np.array([20, 19, 99])
    items = np.array([[3, 1, 0], [3, 0, 1], [3, 1, 7]])
    expected = [[True, True, False], [False, False, False], [False, False, False]]
    assert engagements.includes(users, items, instants).tolist() == expected


def test_no_engagements_at_all():
    nothing = Engagements(np.array([], object), np.array([], np.int64), np.array([], np.int64))
    assert pairs(nothing, ["a"], [5]) == []
    assert not nothing.includes(np.array(["a"], object), np.array([[1]]), np.array([5])).any()


def test_sampled_negatives_are_unusable_where_the_user_had_engaged(engagements):
    users, instants = np.array(["a", "b"] * 50, object), np.full(100, 35)
    codes, usable = sample_negatives(users, instants, np.ones(4), engagements, 8, np.random.default_rng(0))
    assert codes.shape == usable.shape == (100, 8)
    assert set(np.unique(codes)) == {0, 1, 2, 3}
    had = {"a": [1, 3], "b": [3]}
    expected = [[code not in had[user] for code in row] for user, row in zip(users, codes, strict=True)]
    assert usable.tolist() == expected


def test_popular_items_are_drawn_more_often():
    nothing = Engagements(np.array([], object), np.array([], np.int64), np.array([], np.int64))
    counts = np.array([9999, 0, 0, 0])
    codes, _ = sample_negatives(
        np.array(["a"] * 1000, object), np.zeros(1000, np.int64), counts, nothing, 4, np.random.default_rng(0)
    )
    # Half of the draws by roots (100, 1, 1, 1), half uniform: 0.5 * 100 / 103 + 0.5 / 4.
    assert abs((codes == 0).mean() - 0.6104) < 0.03


def test_engagements_of_files_are_those_of_arrays(tmp_path):
    random = np.random.default_rng(2)
    users = np.array([f"u{user}" for user in random.integers(0, 20, 3000)], object)
    items, instants = random.integers(0, 50, 3000), random.integers(0, 1000, 3000)
    catalogue = np.array([f"i{item:02}" for item in range(40)], object)
    paths = [tmp_path / "one.parquet", tmp_path / "other's.parquet"]
    for path, here in zip(paths, (slice(0, 2000), slice(2000, 3000)), strict=True):
        table = {"user_id": users[here], "item_id": [f"i{item:02}" for item in items[here]]}
        times = pa.array(instants[here], pa.int64()).cast(TIMESTAMP)
        pq.write_table(pa.table({**table, "timestamp": times}), path)
    found = Engagements.read(paths, catalogue)
    asked, at = np.array([f"u{user}" for user in range(22)] * 3, object), random.integers(0, 1000, 66)
    codes = random.integers(0, 40, (66, 5))
    held = {}
    for user, item, instant in zip(users, items, instants, strict=True):
        if item < 40:
            held[user, item] = min(instant, held.get((user, item), instant))
    never = 10**9
    expected = [[held.get((u, c), never) <= t for c in row] for u, row, t in zip(asked, codes, at, strict=True)]
    assert found.includes(asked, codes, at).tolist() == expected
    rows, before = found.before(asked, at)
    expected = {
        (row, item) for row, u in enumerate(asked) for item in range(40) if held.get((u, item), never) < at[row]
    }
    assert set(zip(rows.tolist(), before.tolist(), strict=True)) == expected
    assert len(rows) == len(expected)

import numpy as np
import pytest

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

"""The splits of `make bench-quality`, on interactions small enough to part by hand."""

import numpy as np
import pytest

from tests.benchmarks.quality.problem import (
    Log,
    Phase,
    Problem,
    histories,
    interactions,
    load_problem,
    save_problem,
)
from tests.benchmarks.quality.protocols import (
    last_one,
    last_tenth,
    sample_queries,
    split_by_time,
    split_by_user,
)

# User 0 likes items 0, 2, 3, 5 and dislikes 1 and 4; user 1 likes 0, 1, 2 later; user 2 has two likes only.
ROWS = [
    # user, item, time, positive
    (0, 0, 10, True),
    (0, 1, 20, False),
    (0, 2, 30, True),
    (2, 5, 35, True),
    (0, 3, 40, True),
    (0, 4, 50, False),
    (2, 0, 55, True),
    (0, 5, 60, True),
    (0, 6, 70, False),
    (1, 0, 80, True),
    (1, 1, 90, True),
    (1, 2, 100, True),
]
LOG = Log(*(np.array(column) for column in zip(*ROWS, strict=True)))


def triples(log: Log) -> list[tuple[int, int]]:
    return list(zip(log.users.tolist(), log.items.tolist(), strict=True))


def history(phase: Phase, moment: int) -> list[int]:
    return phase.history_items[phase.history_starts[moment] : phase.history_starts[moment + 1]].tolist()


def asked(phase: Phase) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for moment, item in zip(phase.pair_moments, phase.pair_items, strict=True):
        found.setdefault(int(phase.users[moment]), []).append(int(item))
    return found


def test_leave_last_one_out_holds_the_last_two_positives_and_drops_what_came_after() -> None:
    validation, test = split_by_user(LOG, last_one)

    # User 0: validation is item 3 (time 40), test item 5 (60). User 1: 1 and 2. User 2 keeps both likes in training.
    assert asked(validation) == {0: [3], 1: [1]}
    assert asked(test) == {0: [5], 1: [2]}
    assert triples(validation.log) == [(0, 0), (0, 1), (0, 2), (2, 5), (2, 0), (1, 0)]
    # The dislike of item 4 lies between the two, that of item 6 after the test item.
    assert triples(test.log) == [(0, 0), (0, 1), (0, 2), (2, 5), (0, 3), (0, 4), (2, 0), (1, 0), (1, 1)]


def test_a_user_is_asked_at_the_first_held_out_item_with_all_that_is_known_as_history() -> None:
    _, test = split_by_user(LOG, last_one)

    assert test.users.tolist() == [0, 1]
    assert test.times.tolist() == [61, 101]
    assert history(test, 0) == [0, 1, 2, 3, 4]
    assert history(test, 1) == [0, 1]


def test_no_item_asked_for_is_in_its_history_or_in_the_log() -> None:
    for held_out in (last_one, last_tenth):
        for phase in split_by_user(LOG, held_out):
            learned = set(triples(phase.log))
            for moment, item in zip(phase.pair_moments, phase.pair_items, strict=True):
                assert item not in history(phase, moment)
                assert (phase.users[moment], item) not in learned


@pytest.mark.parametrize(
    ("positives", "expected"),
    # 25: a tenth is 2 (rounded down), a tenth of the remaining 23 is 2. 2 is too few to hold any out.
    [(2, (0, 0)), (3, (1, 1)), (10, (1, 1)), (20, (1, 2)), (25, (2, 2)), (100, (9, 10))],
)
def test_last_tenth_holds_out_at_least_one(positives: int, expected: tuple[int, int]) -> None:
    assert last_tenth(positives) == expected


def test_last_tenth_asks_for_several_items_in_one_query() -> None:
    rows = 20
    log = Log(np.zeros(rows, int), np.arange(rows), np.arange(rows) * 10, np.ones(rows, bool))

    validation, test = split_by_user(log, last_tenth)

    assert test.pair_items.tolist() == [18, 19]
    assert test.pair_queries.tolist() == [0, 0]
    assert test.times.tolist() == [181]
    assert validation.pair_items.tolist() == [17]
    assert len(validation.log) == 17


def test_within_one_second_only_what_comes_before_is_known() -> None:
    log = Log(np.zeros(4, int), np.array([3, 1, 2, 0]), np.array([5, 5, 5, 5]), np.ones(4, bool))

    validation, test = split_by_user(log, last_one)

    assert (validation.pair_items.tolist(), history(validation, 0)) == ([2], [3, 1])
    assert (test.pair_items.tolist(), history(test, 0)) == ([0], [3, 1, 2])


def test_time_split_asks_every_positive_with_what_came_strictly_before() -> None:
    validation, test = split_by_time(LOG, first_validation=50, first_test=80)

    # Validation window [50, 80): likes of user 2 at 55 and user 0 at 60. Test window from 80: user 1's three likes.
    assert validation.users.tolist() == [2, 0]
    assert validation.pair_items.tolist() == [0, 5]
    assert history(validation, 0) == [5]
    assert history(validation, 1) == [0, 1, 2, 3, 4]
    assert triples(validation.log) == [(0, 0), (0, 1), (0, 2), (2, 5), (0, 3)]
    assert test.pair_items.tolist() == [0, 1, 2]
    assert [history(test, moment) for moment in range(3)] == [[], [0], [0, 1]]
    assert test.log.times.max() == 70
    assert test.moves_on


def test_time_split_asks_for_likes_of_one_instant_apart_but_with_the_same_history() -> None:
    log = Log(np.array([0, 0, 0]), np.array([4, 2, 1]), np.array([1, 9, 9]), np.ones(3, bool))

    _, test = split_by_time(log, first_validation=5, first_test=9)

    assert test.users.tolist() == [0]
    assert test.pair_items.tolist() == [1, 2]
    assert test.pair_queries.tolist() == [0, 1]
    assert history(test, 0) == [4]


def test_an_item_that_the_user_already_had_is_no_query() -> None:
    log = Log(np.array([0, 0, 0]), np.array([4, 4, 1]), np.array([1, 9, 10]), np.ones(3, bool))

    _, test = split_by_time(log, first_validation=5, first_test=9)

    assert test.pair_items.tolist() == [1]


def test_a_sample_of_queries_keeps_their_histories() -> None:
    _, test = split_by_time(LOG, first_validation=50, first_test=80)

    sampled = sample_queries(test, most=1, seed=0)

    place = {0: 0, 1: 1, 2: 2}[int(sampled.pair_items[0])]
    assert len(sampled.pair_items) == 1
    assert sampled.pair_queries.tolist() == [0]
    assert history(sampled, 0) == history(test, place)
    assert sampled.times.tolist() == [test.times[place]]


def test_histories_weigh_the_newest_entry_most() -> None:
    _, test = split_by_user(LOG, last_one)

    weights = histories(test, items=7, decay=0.5, other_weight=0.2).toarray()

    # User 0, the newest first: 4 (disliked), 3, 2, 1 (disliked), 0.
    np.testing.assert_allclose(weights[0], [0.0625, 0.2 * 0.125, 0.25, 0.5, 0.2, 0, 0], rtol=1e-6)


def test_entries_without_weight_do_not_age_the_others() -> None:
    _, test = split_by_user(LOG, last_one)

    weights = histories(test, items=7, decay=0.5, other_weight=0.0).toarray()

    np.testing.assert_allclose(weights[0], [0.25, 0, 0.5, 1, 0, 0, 0], rtol=1e-6)


def test_without_forgetting_a_history_is_the_users_training_row() -> None:
    _, test = split_by_user(LOG, last_one)

    rows = interactions(test.log, users=3, items=7, other_weight=0.3)[test.users]

    np.testing.assert_allclose(histories(test, 7, 1.0, 0.3).toarray(), rows.toarray())


def test_a_stored_problem_is_read_as_it_was(tmp_path) -> None:
    validation, test = split_by_user(LOG, last_one)
    save_problem(Problem(validation, test, np.eye(7), np.eye(3)), tmp_path / "problem.npz")

    read = load_problem(tmp_path / "problem.npz")

    assert read.folder == tmp_path
    assert not read.test.moves_on
    assert triples(read.validation.log) == triples(validation.log)
    assert [history(read.test, moment) for moment in range(2)] == [history(test, moment) for moment in range(2)]
    np.testing.assert_array_equal(read.item_attributes, np.eye(7))

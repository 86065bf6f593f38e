"""Ranks, metrics and tuning of `make bench-quality`."""

import numpy as np
import pytest

from tests.benchmarks.quality.problem import Log, Phase
from tests.benchmarks.quality.ranks import (
    average_precision_at_k,
    ndcg_at_k,
    ranks_of_pairs,
    recall_at_k,
)
from tests.benchmarks.quality.tuning import Budget, best_of, search


def phase(histories: list[list[int]], pairs: list[tuple[int, int, int]]) -> Phase:
    """Moments with histories, and (moment, item, query) asked for."""
    known = [item for items in histories for item in items]
    log = Log(np.zeros(len(known), int), np.array(known, int), np.zeros(len(known), int), np.ones(len(known), bool))
    moments, items, queries = (np.array(column) for column in zip(*pairs, strict=True))
    return Phase(
        log=log,
        visible=log,
        users=np.arange(len(histories)),
        times=np.zeros(len(histories), int),
        history_starts=np.cumsum([0, *map(len, histories)]),
        history_rows=np.arange(len(known)),
        pair_moments=moments,
        pair_items=items,
        pair_queries=queries,
    )


def test_the_corpus_has_no_item_of_the_history() -> None:
    scores = np.array([[9.0, 8.0, 7.0, 6.0]])

    assert ranks_of_pairs(phase([[]], [(0, 3, 0)]), scores.__getitem__).tolist() == [4]
    # Items 0 and 2 are known and out of the way.
    assert ranks_of_pairs(phase([[0, 2]], [(0, 3, 0)]), scores.__getitem__).tolist() == [2]


def test_equal_scores_rank_by_code() -> None:
    scores = np.array([[1.0, 1.0, 1.0]])

    ranks = ranks_of_pairs(phase([[]], [(0, 2, 0), (0, 0, 0), (0, 1, 0)]), scores.__getitem__)

    assert ranks.tolist() == [3, 1, 2]


def test_ranks_are_in_the_order_of_the_pairs_when_moments_are_not() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])

    ranks = ranks_of_pairs(phase([[], []], [(1, 0, 0), (0, 1, 1), (1, 2, 0)]), scores.__getitem__)

    assert ranks.tolist() == [3, 2, 1]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be numbers"):
        ranks_of_pairs(phase([[]], [(0, 1, 0)]), np.array([[1.0, np.nan]]).__getitem__)


# Query 0 asks for items that came 1st, 4th and 30th; query 1 for one that came 2nd.
RANKS = np.array([4.0, 2.0, 1.0, 30.0])
QUERIES = np.array([0, 1, 0, 0])


def test_recall_is_the_share_of_what_was_asked_for() -> None:
    np.testing.assert_allclose(recall_at_k(RANKS, QUERIES, 10), [2 / 3, 1])


def test_ndcg_is_held_against_the_ideal_list() -> None:
    gained = 1 + 1 / np.log2(5)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    np.testing.assert_allclose(ndcg_at_k(RANKS, QUERIES, 10), [gained / ideal, 1 / np.log2(3)])


def test_the_ideal_list_is_no_longer_than_the_cutoff() -> None:
    # Three items are asked for, but two places are all there is.
    np.testing.assert_allclose(ndcg_at_k(np.array([1.0, 2.0, 3.0]), np.zeros(3, int), 2), [1.0])


def test_average_precision_counts_each_hit_at_its_place() -> None:
    # Query 0: precision 1/1 at rank 1, 2/4 at rank 4, over three items; query 1: 1/2.
    np.testing.assert_allclose(average_precision_at_k(RANKS, QUERIES, 10), [(1 + 0.5) / 3, 0.5])


def test_an_item_that_is_not_there_counts_nothing() -> None:
    ranks, queries = np.array([np.inf]), np.array([0])

    for metric in (recall_at_k, ndcg_at_k, average_precision_at_k):
        np.testing.assert_array_equal(metric(ranks, queries, 10), [0.0])


SPACE = {"a": tuple(range(10)), "b": tuple(range(10))}


def test_every_contestant_gets_as_many_trials_and_the_first_is_its_own() -> None:
    trials = search(lambda p: (p["a"] + p["b"], {}), {"a": 0, "b": 0}, SPACE, Budget(12, 1e9), 1, lambda _: None)

    assert len(trials) == 12
    assert trials[0].params == {"a": 0, "b": 0}
    assert len({repr(trial.params) for trial in trials}) == 12
    assert best_of(trials).value == max(trial.params["a"] + trial.params["b"] for trial in trials)


def test_no_trial_starts_when_the_time_is_used_up() -> None:
    trials = search(lambda p: (0.0, {}), {"a": 0, "b": 0}, SPACE, Budget(12, 0.0), 1, lambda _: None)

    assert len(trials) == 1


def test_nothing_to_tune_is_one_trial() -> None:
    assert len(search(lambda p: (0.0, {}), {}, {}, Budget(12, 1e9), 1, lambda _: None)) == 1


def test_every_other_trial_stays_near_the_best_so_far() -> None:
    space = {name: tuple(range(10)) for name in "abcd"}
    first = dict.fromkeys("abcd", 0)

    trials = search(lambda params: (sum(params.values()), {}), first, space, Budget(9, 1e9), 1, lambda _: None)

    for place in range(1, 9, 2):
        near = best_of(trials[:place]).params
        assert sum(trials[place].params[name] != near[name] for name in "abcd") <= 2

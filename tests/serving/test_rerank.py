import numpy as np
import pytest

from serving.config import RerankConfig
from serving.rerank import rerank
from serving.rerank.policy import share_limit

ROWS = np.array([5, 3, 1, 0, 2])
GENRES = [("a",), ("b",), (), ("a", "b"), ("c",), ("a",)]


def places(reranked):
    return reranked.kept.tolist(), list(reranked.removed)


def test_the_best_are_kept_in_their_order():
    assert places(rerank(ROWS, 3, RerankConfig(), set(), None)) == ([0, 1, 2], [])


def test_fewer_candidates_than_wanted_are_all_kept():
    assert places(rerank(ROWS[:2], 10, RerankConfig(), set(), None)) == ([0, 1], [])
    assert places(rerank(ROWS[:0], 10, RerankConfig(), set(), None)) == ([], [])


def test_seen_items_are_left_out_with_the_reason():
    assert places(rerank(ROWS, 3, RerankConfig(), {3, 2}, None)) == ([0, 2, 3], [(1, "seen")])


def test_a_value_takes_no_more_than_its_share():
    # Rows 5 (a), 3 (a, b), 1 (b), 0 (a), 2 (none); of 4 items each value may have 1.
    policy = RerankConfig(max_share_by="genres", max_share=0.25)
    reasons = [(1, "max_share genres=a"), (3, "max_share genres=a")]
    assert places(rerank(ROWS, 4, policy, set(), GENRES)) == ([0, 2, 4], reasons)
    # With half of 4, two: row 0 would be the third `a`.
    policy = RerankConfig(max_share_by="genres", max_share=0.5)
    assert places(rerank(ROWS, 4, policy, set(), GENRES)) == ([0, 1, 2, 4], [(3, "max_share genres=a")])


def test_without_an_attribute_nothing_is_limited():
    assert places(rerank(ROWS, 4, RerankConfig(max_share=0.1), set(), GENRES)) == ([0, 1, 2, 3], [])


@pytest.mark.parametrize(("count", "share", "limit"), [(10, 0.3, 3), (10, 0.35, 3), (10, 1.0, 10), (3, 0.1, 1)])
def test_the_limit_is_the_share_of_what_is_asked_for(count, share, limit):
    assert share_limit(count, share) == limit

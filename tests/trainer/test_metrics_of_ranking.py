import importlib

import numpy as np
import pytest

from trainer.metrics import (
    average_precision_at_k,
    hit_rate_at_k,
    ndcg_at_k,
    ranks_of_relevant,
    ranks_of_targets,
    recall_at_k,
    reciprocal_rank_at_k,
)

RANKS = np.array([1.0, 2.0, 3.0, 11.0, np.inf])


def test_recall_counts_ranks_up_to_k_inclusive():
    assert recall_at_k(RANKS, 2).tolist() == [1, 1, 0, 0, 0]


def test_ndcg_is_discounted_by_the_binary_logarithm():
    # log2(2) = 1, log2(3) = 1.58496..., log2(4) = 2
    np.testing.assert_allclose(ndcg_at_k(RANKS, 10), [1, 0.6309297535714575, 0.5, 0, 0])


def test_average_precision_is_the_reciprocal_rank():
    np.testing.assert_allclose(average_precision_at_k(RANKS, 10), [1, 1 / 2, 1 / 3, 0, 0])


def test_rank_counts_higher_scores_and_earlier_ties():
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.5, 0.9, 0.5, 0.1], [0.5, 0.9, -np.inf, 0.1]])
    assert ranks_of_targets(scores, np.array([0, 2, 2])).tolist() == [2, 3, np.inf]


# Three relevant items, two, one that never came, and a query without any.
SEVERAL = np.array([[2.0, 1.0, 12.0], [4.0, np.inf, np.nan], [np.inf, np.nan, np.nan], [np.nan] * 3])


def test_recall_is_the_share_of_the_relevant_items():
    np.testing.assert_array_equal(recall_at_k(SEVERAL, 5), [2 / 3, 1 / 2, 0, np.nan])


def test_hit_rate_asks_for_any_relevant_item():
    np.testing.assert_array_equal(hit_rate_at_k(SEVERAL, 3), [1, 0, 0, np.nan])
    assert hit_rate_at_k(RANKS, 2).tolist() == [1, 1, 0, 0, 0]


def test_reciprocal_rank_is_that_of_the_first_relevant_item():
    np.testing.assert_array_equal(reciprocal_rank_at_k(SEVERAL, 5), [1, 1 / 4, 0, np.nan])
    np.testing.assert_array_equal(reciprocal_rank_at_k(SEVERAL, 3), [1, 0, 0, np.nan])


def test_average_precision_adds_the_precision_at_each_relevant_rank():
    # First query: 1/1 at rank 1, 2/2 at rank 2, 3/12 at rank 12; three relevant items.
    np.testing.assert_allclose(average_precision_at_k(SEVERAL, 20), [(1 + 1 + 3 / 12) / 3, (1 / 4) / 2, 0, np.nan])
    np.testing.assert_allclose(average_precision_at_k(SEVERAL, 5), [(1 + 1) / 3, (1 / 4) / 2, 0, np.nan])


def test_ideal_list_of_several_items_is_no_longer_than_k():
    # 1/log2(2) + 1/log2(3) = 1.6309297535714575; with k = 3 the third ideal place gives 1/log2(4) = 0.5.
    np.testing.assert_allclose(ndcg_at_k(SEVERAL, 3)[0], 1.6309297535714575 / 2.1309297535714575)
    np.testing.assert_allclose(ndcg_at_k(SEVERAL, 2)[0], 1.0)
    # 1/log2(5) over the ideal of two items.
    np.testing.assert_allclose(ndcg_at_k(SEVERAL, 5)[1], 0.43067655807339306 / 1.6309297535714575)


def test_ranks_of_several_items_break_ties_by_the_lower_column():
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.5, -np.inf, 0.5, 0.6]])
    relevant = np.array([[False, False, True, True], [False, True, True, False]])
    np.testing.assert_array_equal(ranks_of_relevant(scores, relevant), [[3, 4], [3, np.inf]])
    relevant[1] = [False, False, True, False]
    np.testing.assert_array_equal(ranks_of_relevant(scores, relevant), [[3, 4], [3, np.nan]])


@pytest.fixture(scope="module")
def ranx():
    """The reference, uncompiled: its loops over so few queries take milliseconds, compiling them a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        return importlib.import_module("ranx")


@pytest.mark.parametrize("most", [1, 7])
def test_every_metric_agrees_with_ranx(ranx, most):
    random = np.random.default_rng(most)
    queries, items = 60, 80
    # A permutation has no ties; relevant items that a list of 50 leaves out are missing in the run.
    scores = np.stack([random.permutation(items) for _ in range(queries)]).astype(float)
    relevant = np.zeros((queries, items), bool)
    for row in relevant:
        row[random.choice(items, random.integers(1, most + 1), replace=False)] = True
    cut = np.where(scores >= items - 50, scores, -np.inf)
    qrels = ranx.Qrels({f"q{q}": {f"i{i}": 1 for i in np.flatnonzero(relevant[q])} for q in range(queries)})
    run = ranx.Run({f"q{q}": {f"i{i}": float(cut[q, i]) for i in np.flatnonzero(cut[q] > 0)} for q in range(queries)})
    ranks = ranks_of_relevant(cut, relevant)
    ours = {
        "recall": recall_at_k,
        "ndcg": ndcg_at_k,
        "map": average_precision_at_k,
        "mrr": reciprocal_rank_at_k,
        "hit_rate": hit_rate_at_k,
    }
    names = [f"{name}@{k}" for name in ours for k in (1, 5, 10, 50)]
    ranx.evaluate(qrels, run, names, make_comparable=True)
    for name in names:
        metric, k = name.split("@")
        theirs = [run.scores[name][f"q{q}"] for q in range(queries)]
        np.testing.assert_allclose(ours[metric](ranks, int(k)), theirs, rtol=0, atol=1e-9, err_msg=name)
    if most == 1:
        single = ranks_of_targets(cut, relevant.argmax(axis=1))
        np.testing.assert_array_equal(ndcg_at_k(single, 10), ndcg_at_k(ranks, 10))

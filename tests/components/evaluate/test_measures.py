import numpy as np
import pytest

from components.evaluate.config import BaselineRule, EvaluateConfig, FloorRule, RegressionRule
from components.evaluate.funnel import FunnelOutcome
from components.evaluate.measures import Answers, Measures, flatten, metric_names, rank_metric
from components.evaluate.moments import PastEvents
from components.evaluate.slices import Slice

LABELS = np.array([1, 0, 1, 0, 1])
USERS = np.array(list("uuvvw"))


def outcome(ranks: list[float], probabilities: list[float]) -> FunnelOutcome:
    lists = np.array([[0, 1], [0, 2], [0, -1]])
    return FunnelOutcome(np.array(ranks), np.array(ranks), lists, np.array(probabilities), LABELS)


CANDIDATE = outcome([1, 2, np.inf], [0.8, 0.2, 0.3, 0.6, 0.9])
CHAMPION = outcome([2, 2, np.inf], [0.7, 0.4, 0.5, 0.4, 0.1])
NAMES = ("ndcg_at_10", "recall_at_10", "ranking.user_auc")


@pytest.fixture
def measures():
    outcomes = {"funnel": CANDIDATE, "champion": CHAMPION}
    ranks = {name: one.ranks for name, one in outcomes.items()} | {"popularity": np.array([np.inf, 1.0, 1.0])}
    return Measures(np.array(list("uvw")), USERS, ranks, outcomes, samples=40)


def test_every_model_is_measured_on_the_same_queries(measures):
    found = flatten(measures.window(NAMES))
    assert found["funnel.recall_at_10"] == pytest.approx(2 / 3)
    # 1/log2(2) and 1/log2(3) of three queries.
    assert found["funnel.ndcg_at_10"] == pytest.approx((1 + 0.6309297535714575) / 3)
    assert found["funnel_minus_champion.ndcg_at_10"] == pytest.approx((1 - 0.6309297535714575) / 3)
    assert found["funnel_minus_popularity.recall_at_10"] == pytest.approx(0)
    # Only the first user differs, and for the better: in no resample is the candidate behind.
    assert found["funnel_minus_champion.ndcg_at_10.low"] == 0


def test_ranker_is_measured_by_user_and_over_all(measures):
    found = flatten(measures.window(NAMES))
    # u orders its two impressions, v does not, w has no negative. Over all: .8 > .2 .6, .3 > .2, .9 > .2 .6: 5 of 6.
    assert found["ranking.user_auc"] == 0.5
    assert found["ranking.auc"] == pytest.approx(5 / 6)
    assert found["champion_ranking.user_auc"] == 1.0
    assert found["ranking_minus_champion.user_auc"] == -0.5
    # Bins of the candidate hold one row each: |.8-1|, |.2-0|, |.3-1|, |.6-0|, |.9-1|.
    assert found["ranking.ece"] == pytest.approx((0.2 + 0.2 + 0.7 + 0.6 + 0.1) / 5)
    assert {f"ranking.{name}.low" for name in ("user_auc", "user_auc_by_impressions", "auc", "log_loss", "ece")} <= set(
        found
    )


def test_area_by_user_can_be_weighted_by_impressions():
    labels, scores = np.array([1, 0, 1, 0, 0, 0]), np.array([0.9, 0.1, 0.5, 0.6, 0.7, 0.1])
    one = FunnelOutcome(np.array([1.0]), np.array([1.0]), np.array([[0]]), scores, labels)
    measures = Measures(np.array(["u"]), np.array(list("uuvvvv")), {"funnel": one.ranks}, {"funnel": one}, 10)
    found = flatten(measures.window(NAMES))
    # u: 1 of two impressions. v: above one of three, of four impressions.
    assert found["ranking.user_auc"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["ranking.user_auc_by_impressions"] == pytest.approx((2 * 1 + 4 * (1 / 3)) / 6)


def test_slice_holds_only_its_rows(measures):
    part = Slice("f", "s", np.array([False, True, True]), np.array([False, False, True, True, True]))
    found = flatten(measures.slice(part, NAMES))
    assert found["funnel.recall_at_10"] == found["champion.recall_at_10"] == 0.5
    assert found["ranking.user_auc"] == 0.0
    assert found["champion_ranking.user_auc"] == 1.0


def test_empty_slice_has_no_number(measures):
    nothing = Slice("f", "s", np.zeros(3, bool), np.zeros(5, bool))
    assert flatten(measures.slice(nothing, NAMES)) == {}


def test_answers_are_measured_beyond_their_accuracy(measures):
    events = PastEvents(
        timestamps=np.array([1, 2, 3]),
        items=np.array([0, 0, 1]),
        users=np.array(list("uvw"), object),
        positive=np.ones(3, bool),
    )
    vectors = np.array([[1, 0], [0, 1], [1, 1], [0, 0]]), "jaccard"
    answers = Answers(CANDIDATE.top_items, np.array([1, 3, 9]), events, 4, vectors)
    found = measures.answers(answers)
    # Items 0, 1 and 2 of four are shown, 3, 1 and 1 times: sorted 0 1 1 3 -> (-3*0 - 1*1 + 1*1 + 3*3) / (5 * 4).
    assert found["coverage_at_10"].value == 0.75
    assert found["gini_at_10"].value == pytest.approx(9 / 20)
    # One event is added to each of four items. At 1 nothing is past: 2 bits each. At 3 two events, both of item 0:
    # 3/6 is 1 bit, item 2 has 1/6. At 9 item 0 has 3 of 7.
    expected = [(2 + 2) / 2, (1 + np.log2(6)) / 2, np.log2(7 / 3)]
    assert found["novelty_at_10"].value == pytest.approx(np.mean(expected))
    # d(0,1) = 1, d(0,2) = 1/2, and one list has no pair.
    assert found["diversity_at_10"].value == pytest.approx(0.75)
    interval = found["coverage_at_10"].interval()
    assert interval.low <= 0.75 <= interval.high


def test_metrics_that_rules_name_are_measured():
    config = EvaluateConfig(
        baselines=(BaselineRule(baseline="popularity", metric="mrr_at_5"),),
        floors=(FloorRule(metric="retrieval.hit_rate_at_3", at_least=0.1), FloorRule(metric="ranking.auc", at_least=0)),
        regressions=(RegressionRule(metric="funnel.recall_at_7", slices="all"),),
    )
    window, slices = metric_names(config)
    assert {"mrr_at_5", "hit_rate_at_3", "recall_at_7", "ndcg_at_10"} <= set(window)
    assert "auc" not in window
    assert {"recall_at_7", "ranking.user_auc"} <= set(slices)
    assert rank_metric("recall_at_7")(np.array([7.0, 8.0])).tolist() == [1, 0]
    assert rank_metric("auc") is rank_metric("nonsense_at_5") is None

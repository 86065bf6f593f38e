from typing import Any

import pytest
from pydantic import ValidationError

from components.evaluate.config import (
    BaselineRule,
    EqualOpportunityRule,
    EvaluateConfig,
    ExposureRule,
    FloorRule,
    RegressionRule,
)
from components.evaluate.gates import judge

METRICS = {
    "funnel.ndcg_at_10": 0.10,
    "recent_popularity.ndcg_at_10": 0.08,
    "champion.ndcg_at_10": 0.105,
    "funnel_minus_champion.ndcg_at_10": -0.005,
    "funnel_minus_champion.ndcg_at_10.low": -0.009,
    "funnel_minus_champion.ndcg_at_10.high": -0.001,
    "ranking.auc": 0.72,
    "ranking.user_auc": 0.70,
    "champion_ranking.user_auc": 0.69,
    "ranking_minus_champion.user_auc": 0.01,
    "ranking.log_loss": 0.52,
    "champion_ranking.log_loss": 0.50,
    "ranking_minus_champion.log_loss": 0.02,
    "ranking_minus_champion.log_loss.low": 0.01,
    "ranking_minus_champion.log_loss.high": 0.04,
}
COMPARED = {"state": "compared", "release": 3, "note": "release 3, scored on the same rows"}
SAME = {"state": "same", "release": 3, "note": "the candidate's models are those of release 3"}
NONE = {"state": "none", "release": None, "note": "no release is live"}


def part(family: str, name: str, drop: float, queries: int = 500, users: int = 40) -> dict[str, Any]:
    """A slice in which the live release has 0.2 and the candidate `drop` less."""
    metrics = {
        "funnel.ndcg_at_10": 0.2 - drop,
        "champion.ndcg_at_10": 0.2,
        "funnel_minus_champion.ndcg_at_10": -drop,
    }
    rows = {"queries": queries, "users": users, "impressions": queries * 2, "impression_users": users}
    return {"family": family, "slice": name, **rows, "metrics": metrics if queries else {}}


def findings(champion: dict = COMPARED, **changes: Any) -> dict[str, Any]:
    metrics = {**METRICS, **{name.replace("__", "."): value for name, value in changes.items() if "__" in name}}
    rest = {name: value for name, value in changes.items() if "__" not in name}
    return {
        "champion": champion,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
        "slices": [],
        "exposures": {},
        "equal_opportunities": [],
        **rest,
    }


def blessed(config: EvaluateConfig, **changes: Any) -> bool:
    return judge(config, findings(**changes))["blessed"]


BASELINE = EvaluateConfig(baselines=(BaselineRule(baseline="recent_popularity", margin=0.01),))
FLOOR = EvaluateConfig(floors=(FloorRule(metric="ranking.auc", at_least=0.7),))
REGRESSION = EvaluateConfig(regressions=(RegressionRule(largest_drop=0.05),))
BETTER = EvaluateConfig(baselines=(BaselineRule(baseline="champion"),))


@pytest.mark.parametrize(("funnel", "expected"), [(0.0901, True), (0.0899, False)])
def test_baseline_rule_needs_the_margin(funnel, expected):
    assert blessed(BASELINE, funnel__ndcg_at_10=funnel) is expected


def test_equal_to_the_baseline_is_not_above_it():
    rule = EvaluateConfig(baselines=(BaselineRule(baseline="recent_popularity"),))
    assert not blessed(rule, funnel__ndcg_at_10=0.08)


@pytest.mark.parametrize(("auc", "expected"), [(0.7, True), (0.699, False)])
def test_floor_rule_needs_the_value(auc, expected):
    assert blessed(FLOOR, ranking__auc=auc) is expected


# 0.105 * 0.05 = 0.00525
@pytest.mark.parametrize(("difference", "expected"), [(-0.0052, True), (-0.0053, False)])
def test_regression_rule_allows_the_largest_drop(difference, expected):
    assert blessed(REGRESSION, funnel_minus_champion__ndcg_at_10=difference) is expected


def test_regression_by_the_interval_asks_for_its_bad_end():
    # The mean drop of 0.005 is allowed, the interval reaches to 0.009: more than 0.00525, less than 0.105 * 0.1.
    assert not blessed(EvaluateConfig(regressions=(RegressionRule(largest_drop=0.05, judge_by="interval"),)))
    assert blessed(EvaluateConfig(regressions=(RegressionRule(largest_drop=0.1, judge_by="interval"),)))


def test_regression_of_the_ranker_is_held_against_the_live_ranker():
    config = EvaluateConfig(regressions=(RegressionRule(metric="ranking.user_auc", largest_drop=0.01),))
    assert blessed(config)
    # 1% of 0.69 is 0.0069.
    assert blessed(config, ranking_minus_champion__user_auc=-0.0068)
    assert not blessed(config, ranking_minus_champion__user_auc=-0.0070)


@pytest.mark.parametrize(("allowed", "by", "expected"), [(0.04, "mean", True), (0.039, "mean", False)])
def test_where_less_is_better_a_rise_is_the_regression(allowed, by, expected):
    # 0.02 of 0.50 is 4%; the bad end of the interval, 0.04, is 8%.
    rule = RegressionRule(metric="ranking.log_loss", largest_drop=allowed, judge_by=by)
    assert blessed(EvaluateConfig(regressions=(rule,))) is expected
    by_interval = RegressionRule(metric="ranking.log_loss", largest_drop=allowed + 0.03, judge_by="interval")
    assert not blessed(EvaluateConfig(regressions=(by_interval,)))
    assert blessed(EvaluateConfig(regressions=(by_interval.model_copy(update={"largest_drop": 0.081}),)))


SLICED = [part("history", "users with 0 past positives", 0.03), part("gender", "gender = F", 0.05)]


@pytest.mark.parametrize(
    ("slices", "outcomes"),
    [
        (("history",), ["passed"]),
        (("gender",), ["failed"]),
        (("gender = F",), ["failed"]),
        ("all", ["passed", "failed"]),
    ],
)
def test_regression_rule_is_judged_in_the_slices_that_it_names(slices, outcomes):
    # A drop of 0.03 of 0.2 is 15%, one of 0.05 is 25%.
    rule = RegressionRule(largest_drop=0.2, slices=slices)
    verdict = judge(EvaluateConfig(segments=("gender",), regressions=(rule,)), findings(slices=SLICED))
    assert [one["outcome"] for one in verdict["rules"]] == outcomes
    assert verdict["blessed"] is ("failed" not in outcomes)


@pytest.mark.parametrize(
    ("queries", "users", "outcome", "why"),
    [
        (100, 20, "failed", None),
        (99, 20, "not judged", "99 queries of 20 users, fewer than 100 of 20"),
        (100, 19, "not judged", "100 queries of 19 users, fewer than 100 of 20"),
        (0, 0, "not judged", "no queries fall into it"),
    ],
)
def test_slice_that_is_too_small_is_not_judged_and_the_verdict_says_so(queries, users, outcome, why):
    config = EvaluateConfig(regressions=(RegressionRule(largest_drop=0.2, slices="all"),))
    small = part("history", "users with 0 past positives", 0.1, queries, users)
    (rule,) = judge(config, findings(slices=[small]))["rules"]
    assert (rule["outcome"], rule["why"], rule["slice"]) == (outcome, why, "users with 0 past positives")
    assert rule["passed"] is (outcome == "not judged")


def test_slice_of_the_ranker_counts_impressions():
    rule = RegressionRule(metric="ranking.user_auc", slices="all", smallest_slice=900)
    (one,) = judge(EvaluateConfig(regressions=(rule,)), findings(slices=[part("history", "a", 0.1, 449)]))["rules"]
    assert one["why"] == "898 impressions of 40 users, fewer than 900 of 20"
    (one,) = judge(EvaluateConfig(regressions=(rule,)), findings(slices=[part("history", "a", 0.1, 450)]))["rules"]
    assert one["why"] == "no user in it has both outcomes"


@pytest.mark.parametrize("champion", [NONE, SAME])
def test_regression_is_not_judged_where_nothing_is_compared_and_says_why(champion):
    verdict = judge(REGRESSION, findings(champion))
    assert verdict["blessed"]
    assert verdict["rules"][0]["outcome"] == "not judged"
    assert verdict["rules"][0]["why"] == champion["note"]


def test_live_release_is_not_better_than_itself():
    # The first release has nothing to be better than; a better one is; the same once more is not.
    assert blessed(BETTER, champion__ndcg_at_10=0.099)
    assert not blessed(BETTER, champion__ndcg_at_10=0.101)
    assert judge(BETTER, findings(NONE))["rules"][0]["outcome"] == "not judged"
    (rule,) = judge(BETTER, findings(SAME, champion__ndcg_at_10=0.05))["rules"]
    assert (rule["outcome"], rule["why"]) == ("failed", SAME["note"])


def group(name: str, ratio: float | None, wanted: float = 200.0) -> dict[str, Any]:
    return {"group": name, "wanted": wanted, "ratio": None if ratio is None else [ratio, ratio, ratio]}


@pytest.mark.parametrize(
    ("ratio", "wanted", "outcome", "why"),
    [
        (0.5, 200, "passed", None),
        (0.49, 200, "failed", "War 0.49"),
        (2.0, 200, "passed", None),
        (2.01, 200, "failed", "War 2.01"),
        (9.0, 99, "passed", None),
    ],
)
def test_exposure_rule_keeps_every_large_group_within_its_range(ratio, wanted, outcome, why):
    config = EvaluateConfig(exposures=(ExposureRule(groups="genres", lowest=0.5, highest=2.0),))
    groups = [group("Drama", 1.1), group("War", ratio, wanted), group("Western", None, 0)]
    (rule,) = judge(config, findings(exposures={"genres": groups}))["rules"]
    assert (rule["outcome"], rule["why"]) == (outcome, why)


def test_exposure_rule_without_a_large_group_is_not_judged():
    config = EvaluateConfig(exposures=(ExposureRule(groups="genres"),))
    (rule,) = judge(config, findings(exposures={"genres": [group("War", 9.0, 5)]}))["rules"]
    assert (rule["outcome"], rule["passed"]) == ("not judged", True)


@pytest.mark.parametrize(("difference", "expected"), [(0.1, "passed"), (0.101, "failed")])
def test_equal_opportunity_rule_limits_the_difference(difference, expected):
    config = EvaluateConfig(equal_opportunities=(EqualOpportunityRule(groups="gender"),))
    found = {"best": "F", "worst": "M", "difference": [difference, 0.0, 0.2]}
    (rule,) = judge(config, findings(equal_opportunities=[found]))["rules"]
    assert rule["outcome"] == expected
    assert f"F is {difference:.4f} ahead of M" in rule["rule"]


def test_equal_opportunity_of_one_large_group_is_not_judged():
    config = EvaluateConfig(equal_opportunities=(EqualOpportunityRule(groups="gender"),))
    (rule,) = judge(config, findings(equal_opportunities=[{"groups": []}]))["rules"]
    assert (rule["outcome"], rule["why"]) == ("not judged", "fewer than two groups have 100 queries")


@pytest.mark.parametrize("value", [None, float("nan")])
@pytest.mark.parametrize("config", [BASELINE, FLOOR, REGRESSION])
def test_metric_that_is_absent_or_no_number_fails_its_rule(config, value):
    missing = {"funnel__ndcg_at_10": value, "ranking__auc": value, "champion__ndcg_at_10": value}
    assert not blessed(config, **missing)


def test_one_failed_rule_is_enough():
    both = EvaluateConfig(baselines=BASELINE.baselines, floors=(FloorRule(metric="ranking.auc", at_least=0.9),))
    verdict = judge(both, findings())
    assert [rule["passed"] for rule in verdict["rules"]] == [True, False]
    assert not verdict["blessed"]


def test_each_rule_names_its_value_and_threshold():
    baseline, regression = judge(
        EvaluateConfig(baselines=BASELINE.baselines, regressions=REGRESSION.regressions), findings()
    )["rules"]
    assert baseline == {
        "rule": "ndcg_at_10 0.1000 above recent popularity (0.0900)",
        "outcome": "passed",
        "passed": True,
        "why": None,
        "value": 0.10,
        "threshold": pytest.approx(0.09),
        "slice": None,
    }
    assert regression["rule"] == "ndcg_at_10 0.1000 at most 5% below the live release (0.1050)"
    assert regression["threshold"] == pytest.approx(0.105 * 0.95)


def test_slices_that_cannot_exist_are_refused_with_the_config():
    with pytest.raises(ValidationError, match="no slice is named 'gender'.*history.*among `segments`"):
        EvaluateConfig(regressions=(RegressionRule(slices=("gender",)),))
    with pytest.raises(ValidationError, match="rank metric or ranking.user_auc. Received: ranking.auc"):
        RegressionRule(metric="ranking.auc", slices="all")

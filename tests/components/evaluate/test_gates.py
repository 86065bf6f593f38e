import pytest

from components.evaluate.config import BaselineRule, EvaluateConfig, FloorRule, RegressionRule
from components.evaluate.gates import judge

METRICS = {
    "funnel.ndcg_at_10": 0.10,
    "recent_popularity.ndcg_at_10": 0.08,
    "champion.ndcg_at_10": 0.105,
    "ranking.auc": 0.72,
}


def blessed(config: EvaluateConfig, **changes: float | None) -> bool:
    metrics = {**METRICS, **{name.replace("__", "."): value for name, value in changes.items()}}
    return judge(config, {name: value for name, value in metrics.items() if value is not None})["blessed"]


BASELINE = EvaluateConfig(baselines=(BaselineRule(baseline="recent_popularity", margin=0.01),))
FLOOR = EvaluateConfig(floors=(FloorRule(metric="ranking.auc", at_least=0.7),))
REGRESSION = EvaluateConfig(regressions=(RegressionRule(largest_drop=0.05),))


@pytest.mark.parametrize(("funnel", "expected"), [(0.0901, True), (0.0899, False)])
def test_baseline_rule_needs_the_margin(funnel, expected):
    assert blessed(BASELINE, funnel__ndcg_at_10=funnel) is expected


def test_equal_to_the_baseline_is_not_above_it():
    rule = EvaluateConfig(baselines=(BaselineRule(baseline="recent_popularity"),))
    assert not blessed(rule, funnel__ndcg_at_10=0.08)


@pytest.mark.parametrize(("auc", "expected"), [(0.7, True), (0.699, False)])
def test_floor_rule_needs_the_value(auc, expected):
    assert blessed(FLOOR, ranking__auc=auc) is expected


# 0.105 * 0.95 = 0.09975
@pytest.mark.parametrize(("funnel", "expected"), [(0.0998, True), (0.0997, False)])
def test_regression_rule_allows_the_largest_drop(funnel, expected):
    assert blessed(REGRESSION, funnel__ndcg_at_10=funnel) is expected


def test_regression_rule_passes_where_nothing_is_live_and_says_so():
    metrics = {name: value for name, value in METRICS.items() if not name.startswith("champion")}
    verdict = judge(REGRESSION, metrics)
    assert verdict["blessed"]
    assert "no live release" in verdict["rules"][0]["rule"]


@pytest.mark.parametrize("value", [None, float("nan")])
@pytest.mark.parametrize("config", [BASELINE, FLOOR, REGRESSION])
def test_metric_that_is_absent_or_no_number_fails_its_rule(config, value):
    assert not blessed(config, funnel__ndcg_at_10=value, ranking__auc=value)


def test_one_failed_rule_is_enough():
    both = EvaluateConfig(baselines=BASELINE.baselines, floors=(FloorRule(metric="ranking.auc", at_least=0.9),))
    verdict = judge(both, METRICS)
    assert [rule["passed"] for rule in verdict["rules"]] == [True, False]
    assert not verdict["blessed"]


def test_each_rule_names_its_value_and_threshold():
    (rule,) = judge(BASELINE, METRICS)["rules"]
    assert rule == {
        "rule": "ndcg_at_10 0.1000 above recent popularity (0.0900)",
        "passed": True,
        "value": 0.10,
        "threshold": pytest.approx(0.09),
    }

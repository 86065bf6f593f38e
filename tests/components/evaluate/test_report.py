from typing import Any

from components.evaluate.measures import RANK_METRICS
from components.evaluate.reliability import reliability_plot
from components.evaluate.report import render_report


def three(name: str, mean: float, low: float, high: float) -> dict[str, float]:
    return {name: mean, f"{name}.low": low, f"{name}.high": high}


BIN = {"low": 0.2, "high": 0.3, "count": 12345, "predicted": 0.25, "observed": 0.75}


def verdict(**changes: Any) -> dict[str, Any]:
    metrics: dict[str, float] = {}
    for model in ("funnel", "retrieval", "champion", "popularity"):
        for name in RANK_METRICS:
            metrics |= three(f"{model}.{name}", 0.5, 0.4, 0.6)
    metrics |= three("ranking.user_auc", 0.7, 0.6, 0.8) | three("ranking.ece", 0.02, 0.01, 0.03)
    metrics |= three("funnel_minus_champion.ndcg_at_10", -0.3, -0.4, -0.2)
    rule = {"rule": "a <rule>", "outcome": "passed", "why": None}
    failed = {"rule": "the failing one", "outcome": "failed", "why": "because"}
    empty = {"family": "history", "slice": "users with none", "metrics": {}}
    return {
        "blessed": False,
        "rules": [rule, failed],
        "champion": {"state": "compared", "release": 3, "note": "release 3, scored on the same rows"},
        "queries": 10,
        "users": 3,
        "repeat": False,
        "metrics": metrics,
        "slices": [{**empty, "queries": 0, "users": 0, "impressions": 0, "impression_users": 0}],
        "exposures": {"genres": [{"group": "W", "wanted": 0, "relevance": 0.0, "exposure": 0.1, "ratio": None}]},
        "equal_opportunities": [],
        "calibration": [BIN],
        "off_policy": {"refused": "no propensities"},
        **changes,
    }


def test_failed_rules_come_first_and_text_is_escaped():
    page = render_report(verdict())
    assert page.index("the failing one") < page.index("a &lt;rule&gt;")
    assert "not blessed" in page
    assert "release 3, scored on the same rows" in page


def test_empty_slice_shows_a_dash_and_no_number():
    row = render_report(verdict()).split("users with none")[1].split("</tr>")[0]
    assert row.count("\N{EN DASH}") == 5
    assert "0.0" not in row


def test_difference_is_red_where_its_interval_lies_below_zero():
    page = render_report(verdict())
    assert '<span class="bad">-0.3000</span>' in page
    metrics = verdict()["metrics"] | three("funnel_minus_champion.ndcg_at_10", -0.3, -0.4, 0.1)
    assert '<span class="bad">-0.3000</span>' not in render_report(verdict(metrics=metrics))


def test_corpus_is_named_by_how_items_are_consumed():
    assert "every item that the user had not engaged with" in render_report(verdict())
    assert "the corpus is the whole catalogue" in render_report(verdict(repeat=True))


def test_reliability_plot_sets_observed_against_predicted():
    plot = reliability_plot([BIN])
    # 46 + 0.25 * 300 across, 312 - 0.75 * 300 down.
    assert '<circle class="first" cx="121.0" cy="87.0"' in plot
    assert "12k" in plot
    assert "12,345 impressions: predicted 0.250, observed 0.750" in plot

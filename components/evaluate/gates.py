"""The rules that decide whether a model may be released."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from components.evaluate.config import BaselineRule, EvaluateConfig, FloorRule, RegressionRule


@dataclass(frozen=True)
class RuleOutcome:
    """How one rule came out: its sentence, whether it passed, the value and what it was held against."""

    rule: str
    passed: bool
    value: float | None
    threshold: float | None


def judge(config: EvaluateConfig, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The verdict: `blessed` and every rule's outcome. A metric that is absent or no number fails its rule.

    Args:
        config: the rules.
        metrics: by name: `funnel.*`, `retrieval.*`, `ranking.*`, each baseline's, and `champion.*` where a release is
            live.
    """
    outcomes = [_baseline(rule, metrics) for rule in config.baselines]
    outcomes += [_floor(rule, metrics) for rule in config.floors]
    outcomes += [_regression(rule, metrics) for rule in config.regressions]
    return {
        "blessed": all(outcome.passed for outcome in outcomes),
        "rules": [asdict(outcome) for outcome in outcomes],
    }


def _baseline(rule: BaselineRule, metrics: Mapping[str, float]) -> RuleOutcome:
    value, other = _number(metrics, f"funnel.{rule.metric}"), _number(metrics, f"{rule.baseline}.{rule.metric}")
    threshold = None if other is None else other + rule.margin
    passed = value is not None and threshold is not None and value > threshold
    against = rule.baseline.replace("_", " ")
    return RuleOutcome(f"{_shown(rule.metric, value)} above {against}{_of(threshold)}", passed, value, threshold)


def _floor(rule: FloorRule, metrics: Mapping[str, float]) -> RuleOutcome:
    value = _number(metrics, rule.metric)
    passed = value is not None and value >= rule.at_least
    return RuleOutcome(f"{_shown(rule.metric, value)} at least {rule.at_least:.4f}", passed, value, rule.at_least)


def _regression(rule: RegressionRule, metrics: Mapping[str, float]) -> RuleOutcome:
    value, live = _number(metrics, f"funnel.{rule.metric}"), _number(metrics, f"champion.{rule.metric}")
    if f"champion.{rule.metric}" not in metrics:
        return RuleOutcome(f"{rule.metric}: no live release to fall behind", True, value, None)
    threshold = None if live is None else live * (1 - rule.largest_drop)
    passed = value is not None and threshold is not None and value >= threshold
    sentence = f"{_shown(rule.metric, value)} at most {rule.largest_drop:.0%} below the live release{_of(live)}"
    return RuleOutcome(sentence, passed, value, threshold)


def _number(metrics: Mapping[str, float], name: str) -> float | None:
    value = metrics.get(name)
    return None if value is None or math.isnan(value) else float(value)


def _shown(metric: str, value: float | None) -> str:
    return f"{metric} {'missing' if value is None else format(value, '.4f')}"


def _of(value: float | None) -> str:
    return "" if value is None else f" ({value:.4f})"

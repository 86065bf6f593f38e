"""The rules that decide whether a model may be released."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from components.evaluate.config import (
    BaselineRule,
    EqualOpportunityRule,
    EvaluateConfig,
    ExposureRule,
    FloorRule,
    RegressionRule,
)
from components.evaluate.measures import LESS_IS_BETTER

Findings = Mapping[str, Any]
Result = Literal["passed", "failed", "not judged"]


@dataclass(frozen=True)
class RuleOutcome:
    """How one rule came out.

    Attributes:
        rule: its sentence, with the figures.
        outcome: `passed`, `failed` or `not judged`.
        passed: whether it stands in the way of a release: a rule that is not judged does not.
        why: it was not judged, or what failed; None otherwise.
        value: of the candidate.
        threshold: that it was held against.
        slice: the part of the window; None for the whole.
    """

    rule: str
    outcome: Result
    passed: bool
    why: str | None = None
    value: float | None = None
    threshold: float | None = None
    slice: str | None = None


def judge(config: EvaluateConfig, findings: Findings) -> dict[str, Any]:
    """The verdict: `blessed` and every rule's outcome. A metric that is absent or no number fails its rule.

    Args:
        config: the rules.
        findings: what the verdict holds else: `metrics` by name, `slices`, `exposures` and `equal_opportunities` by
            groups, `champion`.
    """
    metrics = findings["metrics"]
    outcomes = [_baseline(rule, findings) for rule in config.baselines]
    outcomes += [_floor(rule, metrics) for rule in config.floors]
    for rule in config.regressions:
        outcomes += _regression(rule, findings)
    outcomes += [_exposure(rule, findings["exposures"][rule.groups]) for rule in config.exposures]
    outcomes += [
        _equal_opportunity(rule, found)
        for rule, found in zip(config.equal_opportunities, findings["equal_opportunities"], strict=True)
    ]
    return {
        "blessed": all(outcome.passed for outcome in outcomes),
        "rules": [asdict(outcome) for outcome in outcomes],
    }


def _baseline(rule: BaselineRule, findings: Findings) -> RuleOutcome:
    metrics, champion = findings["metrics"], findings["champion"]
    against = "the live release" if rule.baseline == "champion" else rule.baseline.replace("_", " ")
    value, other = _number(metrics, f"funnel.{rule.metric}"), _number(metrics, f"{rule.baseline}.{rule.metric}")
    if rule.baseline == "champion" and champion["state"] != "compared":
        sentence = f"{rule.metric} above {against}"
        if champion["state"] == "same":
            # Nothing is better than itself: a re-run of what is live must not pass for an improvement.
            return RuleOutcome(sentence, "failed", False, champion["note"], value)
        return _not_judged(sentence, champion["note"])
    threshold = None if other is None else other + rule.margin
    passed = value is not None and threshold is not None and value > threshold
    return _judged(f"{_shown(rule.metric, value)} above {against}{_of(threshold)}", passed, value, threshold)


def _floor(rule: FloorRule, metrics: Mapping[str, float]) -> RuleOutcome:
    value = _number(metrics, rule.metric)
    passed = value is not None and value >= rule.at_least
    return _judged(f"{_shown(rule.metric, value)} at least {rule.at_least:.4f}", passed, value, rule.at_least)


def _regression(rule: RegressionRule, findings: Findings) -> Iterator[RuleOutcome]:
    name = rule.metric.removeprefix("funnel.")
    worse = "above" if name.rpartition(".")[2] in LESS_IS_BETTER else "below"
    allowed = f"at most {rule.largest_drop:.1%} {worse} the live release".replace(".0%", "%")
    if findings["champion"]["state"] != "compared":
        where = "" if not rule.slices else ", by slice"
        yield _not_judged(f"{rule.metric} {allowed}{where}", findings["champion"]["note"])
        return
    if not rule.slices:
        yield _no_drop(rule, findings["metrics"], allowed, None)
    for part in findings["slices"] if rule.slices else ():
        if rule.slices != "all" and not {part["slice"], part["family"]} & set(rule.slices):
            continue
        sentence = f"{rule.metric} of {part['slice']} {allowed}"
        rows, users = ("impressions", "impression_users") if name.startswith("ranking.") else ("queries", "users")
        if not part[rows]:
            yield _not_judged(sentence, f"no {rows} fall into it", part["slice"])
        elif part[rows] < rule.smallest_slice or part[users] < rule.smallest_users:
            counted = f"{part[rows]:,} {rows} of {part[users]:,} users"
            needed = f"fewer than {rule.smallest_slice:,} of {rule.smallest_users:,}"
            yield _not_judged(sentence, f"{counted}, {needed}", part["slice"])
        elif name.startswith("ranking.") and name not in part["metrics"]:
            yield _not_judged(sentence, "no user in it has both outcomes", part["slice"])
        else:
            yield _no_drop(rule, part["metrics"], allowed, part["slice"])


def _no_drop(rule: RegressionRule, metrics: Mapping[str, float], allowed: str, part: str | None) -> RuleOutcome:
    """The rule over the whole window, or over a slice by its metrics."""
    model, _, name = rule.metric.rpartition(".")
    ours, theirs = ("ranking", "champion_ranking") if model == "ranking" else ("funnel", "champion")
    value, live = _number(metrics, f"{ours}.{name}"), _number(metrics, f"{theirs}.{name}")
    # Where less is better the bad end of the difference is the upper one.
    sign, end = (1, ".high") if name in LESS_IS_BETTER else (-1, ".low")
    difference = _number(metrics, f"{ours}_minus_champion.{name}{end if rule.judge_by == 'interval' else ''}")
    where = f" of {part}" if part else ""
    sentence = f"{_shown(rule.metric + where, value)} {allowed}{_of(live)}"
    if live is None or difference is None:
        return RuleOutcome(sentence, "failed", False, "the metric is missing", value, None, part)
    if rule.judge_by == "interval":
        sentence += f", by the interval: the difference may be {difference:+.4f}"
    passed = value is not None and sign * difference <= rule.largest_drop * abs(live)
    return _judged(sentence, passed, value, live * (1 + sign * rule.largest_drop), part)


def _exposure(rule: ExposureRule, groups: list[Mapping[str, Any]]) -> RuleOutcome:
    sentence = (
        f"{rule.groups}: exposure {rule.lowest:g} to {rule.highest:g} times as large as the share of what was asked for"
    )
    judged = {row["group"]: row["ratio"][0] for row in groups if row["wanted"] >= rule.smallest_group and row["ratio"]}
    if not judged:
        return _not_judged(sentence, f"no group was asked for {rule.smallest_group:,} times")
    outside = {name: ratio for name, ratio in judged.items() if not rule.lowest <= ratio <= rule.highest}
    furthest = max(judged.values(), key=lambda ratio: abs(math.log(max(ratio, 1e-9))))
    listed = ", ".join(f"{name} {ratio:.2f}" for name, ratio in outside.items())
    threshold = rule.lowest if furthest < 1 else rule.highest
    if outside:
        return RuleOutcome(sentence, "failed", False, listed, furthest, threshold)
    return _judged(f"{sentence}; furthest {furthest:.2f}", True, furthest, threshold)


def _equal_opportunity(rule: EqualOpportunityRule, found: Mapping[str, Any]) -> RuleOutcome:
    sentence = f"{rule.metric} of users by {rule.groups}: at most {rule.largest_difference:.4f} apart"
    if "difference" not in found:
        return _not_judged(sentence, f"fewer than two groups have {rule.smallest_group:,} queries")
    value = found["difference"][0]
    sentence += f"; {found['best']} is {value:.4f} ahead of {found['worst']}"
    return _judged(sentence, value <= rule.largest_difference, value, rule.largest_difference)


def _judged(
    sentence: str, passed: bool, value: float | None, threshold: float | None, part: str | None = None
) -> RuleOutcome:
    return RuleOutcome(sentence, "passed" if passed else "failed", passed, None, value, threshold, part)


def _not_judged(sentence: str, why: str, part: str | None = None) -> RuleOutcome:
    return RuleOutcome(sentence, "not judged", True, why, slice=part)


def _number(metrics: Mapping[str, float], name: str) -> float | None:
    value = metrics.get(name)
    return None if value is None or math.isnan(value) else float(value)


def _shown(metric: str, value: float | None) -> str:
    return f"{metric} {'missing' if value is None else format(value, '.4f')}"


def _of(value: float | None) -> str:
    return "" if value is None else f" ({value:.4f})"

"""Evaluates a candidate on the test window beside the baselines and the live release, and comes to a verdict."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate.baselines import popularity_ranks
from components.evaluate.champion import find_champion, settle_champion
from components.evaluate.config import EvaluateConfig
from components.evaluate.fairness import POPULARITY, AttributeGroups, PopularityGroups, opportunity_of_groups
from components.evaluate.funnel import FunnelModels, FunnelOutcome, run_funnel
from components.evaluate.gates import judge
from components.evaluate.items import item_vectors
from components.evaluate.measures import Answers, Measures, flatten, metric_names
from components.evaluate.off_policy import off_policy_report, pool_size
from components.evaluate.report import render_report
from components.evaluate.slices import find_slices, segment_values
from components.evaluate.window import Window, read_window
from feature_repo.files import write_file
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from serving.manifest import MODELS
from trainer.metrics import calibration_bins, recall_at_k

HEADLINES = (
    "funnel.ndcg_at_10",
    "funnel.recall_at_100",
    "funnel.coverage_at_10",
    "ranking.user_auc",
    "ranking.auc",
    "ranking.log_loss",
    "ranking.ece",
    "funnel_minus_champion.ndcg_at_10",
    "ranking_minus_champion.user_auc",
)
"""What runs are compared by at a glance; the verdict and the report hold every metric."""


@dataclass(frozen=True)
class EvaluatePaths:
    """What the step reads and writes."""

    examples: Path
    events: Path
    item_features: Path
    user_tower: Path
    item_tower: Path
    ranker: Path
    release_store: Path
    report: Path
    verdict: Path


def evaluate(
    config: EvaluateConfig,
    features: FeatureSpec,
    candidates: int,
    paths: EvaluatePaths,
    history_candidates: int = 0,
) -> dict[str, Any]:
    """Writes the report and the verdict; returns the verdict.

    Each positive of the test window is a query with the features as of its instant. Its corpus is every item that the
    user has not engaged with before, or the whole catalogue where items are consumed repeatedly.

    Args:
        config: section `evaluate`.
        features: the feature spec.
        candidates: how many items retrieval hands to the ranker.
        paths: of inputs and outputs.
        history_candidates: how many of a user's own items join them where items are consumed repeatedly.

    Returns:
        `blessed`, `rules`, `champion`, `queries`, `users`, `metrics` by name (each with `.low` and `.high`), `slices`,
        `exposures`, `equal_opportunities`, `calibration`, `off_policy`.

    Raises:
        ConfigError: when something is grouped by a feature that cannot be grouped by.
        DataError: when nothing is asked for in the window.
    """
    window = read_window(paths.examples, paths.events, paths.item_features, features.repeats)
    parts = _Parts(config, features, window)
    report_progress(f"{len(window.users):,} queries of {len(set(window.users)):,} users")

    models = {name: getattr(paths, name) for name in MODELS}
    champion = find_champion(paths.release_store, features, models)
    candidate = FunnelModels(features, **models)
    sizes = candidates, history_candidates
    outcomes = {"funnel": _run(candidate, window, config, sizes, pool_size(config.off_policy, window.impressions))}
    if champion.models is not None:
        report_progress("the live release on the same rows")
        outcome = _run(champion.models, window, config, sizes)
        champion = settle_champion(champion, outcomes["funnel"], outcome)
        if champion.state == "compared":
            outcomes["champion"] = outcome

    findings = {
        "champion": champion.told(),
        "queries": len(window.users),
        "users": len(set(window.users)),
        "repeat": features.repeats,
        **parts.findings(outcomes),
        "off_policy": off_policy_report(
            config.off_policy,
            window.impressions,
            window.moments,
            window.catalogue,
            outcomes["funnel"].pools,
            config.bootstrap_samples,
        ),
    }
    verdict = {**judge(config, findings), **findings}
    write_file(render_report(verdict).encode(), paths.report)
    write_file(json.dumps(verdict, indent=2).encode(), paths.verdict)
    return verdict


def headlines(verdict: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers to log beside a run."""
    metrics = verdict["metrics"]
    known = {name: metrics[name] for name in HEADLINES if name in metrics}
    outcomes = [rule["outcome"] for rule in verdict["rules"]]
    return {
        "blessed": int(verdict["blessed"]),
        "rules_failed": outcomes.count("failed"),
        "rules_not_judged": outcomes.count("not judged"),
        **known,
    }


class _Parts:
    """What the window is cut into, found before any model is loaded: a config that cannot be is an error at once."""

    def __init__(self, config: EvaluateConfig, features: FeatureSpec, window: Window):
        self.config, self.window = config, window
        size = len(window.catalogue)
        self.slices = find_slices(config, features, window.moments, window.targets, window.events, size)
        self.vectors = None
        if config.diversity_by is not None:
            self.vectors = item_vectors(features, window.items, config.diversity_by)
        refresh = config.item_refresh_seconds
        self.item_groups = {
            name: PopularityGroups(window.events, size, refresh)
            if name == POPULARITY
            else AttributeGroups(features, window.items, name)
            for name in {rule.groups: None for rule in config.exposures}
        }
        self.user_groups = {
            rule.groups: segment_values(features, window.moments, rule.groups)[window.targets[0]]
            for rule in config.equal_opportunities
        }

    def findings(self, outcomes: Mapping[str, FunnelOutcome]) -> dict[str, Any]:
        """Everything that is measured, as the verdict holds it."""
        window, config, outcome = self.window, self.config, outcomes["funnel"]
        ranks = _ranks(window, outcomes, config.recent_days)
        measures = Measures(window.users, window.impression_users, ranks, outcomes, config.bootstrap_samples)
        of_window, of_slices = metric_names(config)
        estimates = measures.window(of_window)
        for model, one in outcomes.items():
            answers = Answers(one.top_items, window.instants, window.events, len(window.catalogue), self.vectors)
            estimates |= {f"{model}.{name}": found for name, found in measures.answers(answers).items()}
        return {
            "metrics": flatten(estimates),
            "slices": [
                {
                    "family": part.family,
                    "slice": part.name,
                    "queries": int(part.queries.sum()),
                    "users": len(set(window.users[part.queries])),
                    "impressions": int(part.impressions.sum()),
                    "impression_users": len(set(window.impression_users[part.impressions])),
                    "metrics": flatten(measures.slice(part, of_slices)),
                }
                for part in self.slices
            ],
            "exposures": {
                name: groups.exposures(measures.queries, outcome.top_items, window.targets[1], window.instants)
                for name, groups in self.item_groups.items()
            },
            "equal_opportunities": [
                {
                    "by": rule.groups,
                    "metric": rule.metric,
                    **opportunity_of_groups(
                        measures.queries,
                        window.users,
                        self.user_groups[rule.groups],
                        recall_at_k(outcome.ranks, int(rule.metric.rpartition("_")[2])),
                        rule.smallest_group,
                    ),
                }
                for rule in config.equal_opportunities
            ],
            "calibration": [vars(one) for one in calibration_bins(outcome.labels, outcome.probabilities)],
        }


def _run(
    models: FunnelModels, window: Window, config: EvaluateConfig, sizes: tuple[int, int], pool: int = 0
) -> FunnelOutcome:
    return run_funnel(
        models,
        window.moments,
        window.targets,
        window.item_features,
        window.catalogue,
        sizes[0],
        config.item_refresh_seconds,
        pool,
        window.item_vectors,
        sizes[1],
    )


def _ranks(window: Window, outcomes: Mapping[str, FunnelOutcome], recent_days: float) -> dict[str, np.ndarray]:
    """Ranks of the queries' items by model, in the order of the report."""
    popular = window.moments, window.targets, window.events, len(window.catalogue)
    ranks = {"funnel": outcomes["funnel"].ranks, "retrieval": outcomes["funnel"].retrieval_ranks}
    if "champion" in outcomes:
        ranks["champion"] = outcomes["champion"].ranks
    return ranks | {
        "popularity": popularity_ranks(*popular, None),
        "recent_popularity": popularity_ranks(*popular, recent_days),
    }

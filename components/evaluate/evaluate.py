"""Evaluates a candidate on the test window beside the baselines and the live release, and comes to a verdict."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.evaluate.baselines import popularity_ranks
from components.evaluate.config import EvaluateConfig
from components.evaluate.funnel import FunnelModels, FunnelOutcome, run_funnel
from components.evaluate.gates import judge
from components.evaluate.moments import Moments, find_moments, read_events
from components.evaluate.off_policy import off_policy_report, pool_size
from components.evaluate.report import render_report
from feature_repo.errors import DataError
from feature_repo.files import write_file
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from serving.releases import ReleaseStore
from trainer.metrics import (
    area_under_roc,
    average_precision_at_k,
    bootstrap_interval,
    calibration_bins,
    expected_calibration_error,
    log_loss,
    ndcg_at_k,
    recall_at_k,
)

RANK_METRICS = {
    "ndcg_at_10": lambda ranks: ndcg_at_k(ranks, 10),
    "ndcg_at_20": lambda ranks: ndcg_at_k(ranks, 20),
    "map_at_10": lambda ranks: average_precision_at_k(ranks, 10),
    "recall_at_10": lambda ranks: recall_at_k(ranks, 10),
    "recall_at_20": lambda ranks: recall_at_k(ranks, 20),
    "recall_at_50": lambda ranks: recall_at_k(ranks, 50),
    "recall_at_100": lambda ranks: recall_at_k(ranks, 100),
    "recall_at_1000": lambda ranks: recall_at_k(ranks, 1000),
}
HISTORY_SLICES = (("0", 0, 0), ("1 to 5", 1, 5), ("6 to 20", 6, 20), ("more than 20", 21, math.inf))


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


def evaluate(config: EvaluateConfig, features: FeatureSpec, candidates: int, paths: EvaluatePaths) -> dict[str, Any]:
    """Writes the report and the verdict; returns the verdict.

    Each positive of the test window is a query with the features as of its instant; its corpus is every item that the
    user has not engaged with before.

    Args:
        config: section `evaluate`.
        features: the feature spec.
        candidates: how many items retrieval hands to the ranker.
        paths: of inputs and outputs.

    Returns:
        `blessed`, `rules`, `metrics` by name (each rank metric with `.low` and `.high`), `slices`, `calibration`,
        `off_policy`.
    """
    impressions = pq.read_table(paths.examples / "test.parquet")
    item_features = pq.read_table(paths.item_features)
    ids = pc.unique(item_features.column("item_id"))
    catalogue = ids.take(pc.array_sort_indices(ids))
    events = read_events(pq.read_table(paths.events), catalogue)
    moments = find_moments(impressions, events, catalogue)
    targets = moments.queries()
    if not len(targets[0]):
        raise DataError("the test window has no positive impression: nothing can be evaluated. Widen `split.test`.")
    report_progress(f"{len(targets[0]):,} queries of {len(set(moments.users[targets[0]])):,} users")

    models = FunnelModels(features, paths.user_tower, paths.item_tower, paths.ranker)
    pool = pool_size(config.off_policy, impressions)
    outcome = run_funnel(
        models, moments, targets, item_features, catalogue, candidates, config.item_refresh_seconds, pool
    )
    ranks = {
        "funnel": outcome.ranks,
        "retrieval": outcome.retrieval_ranks,
        "popularity": popularity_ranks(moments, targets, events, len(catalogue), None),
        "recent_popularity": popularity_ranks(moments, targets, events, len(catalogue), config.recent_days),
    }
    champion = _champion(paths.release_store, features)
    if isinstance(champion, FunnelModels):
        report_progress("the live release on the same queries")
        ranks["champion"] = run_funnel(
            champion, moments, targets, item_features, catalogue, candidates, config.item_refresh_seconds
        ).ranks

    users = moments.users[targets[0]]
    metrics = _metrics(ranks, users, outcome, len(catalogue), config.bootstrap_samples)
    verdict = {
        **judge(config, metrics),
        "metrics": metrics,
        "queries": len(targets[0]),
        "champion": champion if isinstance(champion, str) else "evaluated on the same queries",
        "slices": _slices(ranks, moments, targets[0], features, config),
        "calibration": [vars(one) for one in calibration_bins(outcome.labels, outcome.probabilities)],
        "off_policy": off_policy_report(
            config.off_policy, impressions, moments, catalogue, outcome.pools, config.bootstrap_samples
        ),
    }
    write_file(render_report(verdict).encode(), paths.report)
    write_file(json.dumps(verdict, indent=2).encode(), paths.verdict)
    return verdict


def _champion(release_store: Path, features: FeatureSpec) -> FunnelModels | str:
    """The live release's models, or why they are not compared."""
    store = ReleaseStore(release_store)
    stable = store.channels().stable
    if stable is None:
        return "no release is live"
    text = store.part_path(stable, "feature_spec.json").read_text(encoding="utf-8")
    spec = FeatureSpec.model_validate_json(text)
    absent = sorted({feature.name for feature in spec.all} - {feature.name for feature in features.all})
    if absent:
        return f"release {stable} takes features that this project no longer has: {', '.join(absent)}"
    models = (store.model_path(name, stable) for name in ("user_tower", "item_tower", "ranker"))
    return FunnelModels(spec, *models)


def _metrics(
    ranks: dict[str, np.ndarray], users: np.ndarray, outcome: FunnelOutcome, items: int, samples: int
) -> dict[str, float]:
    metrics: dict[str, float] = {}

    def add(name: str, values: np.ndarray) -> None:
        interval = bootstrap_interval(values, users, samples)
        metrics.update({name: interval.mean, f"{name}.low": interval.low, f"{name}.high": interval.high})

    for model, of_model in ranks.items():
        for name, metric in RANK_METRICS.items():
            add(f"{model}.{name}", metric(of_model))
    for other in [model for model in ranks if model not in ("funnel", "retrieval")]:
        for name in ("ndcg_at_10", "ndcg_at_20"):
            add(f"funnel_minus_{other}.{name}", RANK_METRICS[name](ranks["funnel"]) - RANK_METRICS[name](ranks[other]))
    shown = np.unique(outcome.top_items[outcome.top_items >= 0])
    metrics["funnel.coverage_at_10"] = len(shown) / items
    metrics["ranking.auc"] = area_under_roc(outcome.labels, outcome.probabilities)
    metrics["ranking.log_loss"] = log_loss(outcome.labels, outcome.probabilities)
    metrics["ranking.ece"] = expected_calibration_error(outcome.labels, outcome.probabilities)
    return metrics


def _slices(
    ranks: dict[str, np.ndarray],
    moments: Moments,
    query_moments: np.ndarray,
    features: FeatureSpec,
    config: EvaluateConfig,
) -> list[dict[str, Any]]:
    """NDCG@10 of every model by past positives of the user, and by the values of the segments."""
    past = moments.past_positives[query_moments]
    masks = [
        (f"users with {name} past positives", (past >= low) & (past <= high)) for name, low, high in HISTORY_SLICES
    ]
    for name in config.segments:
        if name not in {feature.name for feature in features.user}:
            raise DataError(f"`evaluate.segments` names no user feature. Received: {name!r}.")
        values = np.array(moments.rows.column(name).to_pylist(), object)[query_moments]
        values = np.where(values == None, "(missing)", values)  # noqa: E711
        masks += [(f"{name} = {value}", values == value) for value in sorted(set(values))]
    users = moments.users[query_moments]
    slices = []
    for name, mask in masks:
        row: dict[str, Any] = {"slice": name, "queries": int(mask.sum()), "users": len(set(users[mask]))}
        for model, of_model in ranks.items():
            interval = bootstrap_interval(ndcg_at_k(of_model[mask], 10), users[mask], config.bootstrap_samples)
            row[model] = None if not mask.any() else [interval.mean, interval.low, interval.high]
        slices.append(row)
    return slices

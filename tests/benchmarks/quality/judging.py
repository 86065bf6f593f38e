"""Runs the comparison on impressions."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from feature_repo.tables import SPLITS
from tests.benchmarks.quality.impressions import (
    Impressions,
    boosted_trees,
    logistic_regression,
    measure,
    read_impressions,
)
from tests.benchmarks.quality.tuning import Budget, best_of


def judge_impressions(
    ours: Mapping[str, np.ndarray], examples: Path, spec: FeatureSpec, budget: Budget
) -> dict[str, Any]:
    """The project's ranker, logistic regression, LightGBM and the item's past like rate on the same impressions.

    Args:
        ours: `users`, `items`, `labels` and `probabilities` of the ranker, in any order.
        examples: folder with the splits' rows, the features as of each row's instant.
        spec: the feature spec.
        budget: of tuning, for each of the other classifiers.

    Returns:
        `rows` by name, `impressions`, `users` and `tuning`.
    """
    splits = {name: read_impressions(examples / f"{name}.parquet", spec) for name in SPLITS}
    test = splits["test"]
    rows = {"ranker": measure(_like(test, ours), ours["probabilities"])}
    tuning = {}
    for name, classifier in (("logistic regression", logistic_regression), ("LightGBM", boosted_trees)):
        probabilities, trials, seconds = classifier(
            splits, budget, lambda line, name=name: report_progress(f"  {name}: {line}")
        )
        rows[name] = measure(test, probabilities) | {"seconds_to_train": seconds}
        tuning[name] = {"trials": [asdict(trial) for trial in trials], "best": asdict(best_of(trials))}
    rows["item's past like rate"] = measure(test, test.like_rates)
    return {
        "impressions": len(test.labels),
        "users": len(np.unique(test.users)),
        "rows": rows,
        "tuning": tuning,
    }


def _like(test: Impressions, ours: Mapping[str, np.ndarray]) -> Impressions:
    """The same impressions in the ranker's order; raises where they are not the same."""
    pairs = [list(zip(users, items, strict=True)) for users, items in ((test.users, test.items), _ids(ours))]
    if sorted(pairs[0]) != sorted(pairs[1]):
        raise ValueError("the ranker and the other classifiers must judge the same impressions")
    places = {pair: place for place, pair in enumerate(pairs[0])}
    return test.take(np.array([places[pair] for pair in pairs[1]]))


def _ids(ours: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return ours["users"].astype(object), ours["items"].astype(object)

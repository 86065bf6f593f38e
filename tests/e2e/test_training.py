"""The whole DAG on a tiny project, through the real local runner."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kfp import components

from pipelines.reports import run_summary
from serving.releases import ReleaseStore

STEPS = [
    "ingest",
    "validate",
    "build-features",
    "train-retrieval",
    "build-index",
    "train-ranker",
    "evaluate",
    "push",
]


def test_every_step_runs_and_is_shown_with_its_time(trained):
    assert sorted(step.name for step in trained.record.steps) == sorted(STEPS)
    assert [text for event, text in trained.shown if event == "end"] == [step.name for step in trained.record.steps]
    assert all(step.status == "succeeded" and step.seconds > 0 for step in trained.record.steps)


def test_what_ran_is_the_compiled_file_and_it_loads_in_the_sdk(trained):
    package = trained.folder / "pipeline.yaml"
    loaded = components.load_component_from_file(str(package))
    assert {task for task in loaded.pipeline_spec.root.dag.tasks} == set(STEPS)
    config = loaded.pipeline_spec.root.input_definitions.parameters["config"].default_value.string_value
    assert config == trained.config.to_json()


def test_release_one_is_stable_whole_and_knows_where_it_comes_from(trained):
    store = ReleaseStore(trained.home.releases)
    assert store.versions() == [1]
    assert store.channels().stable == 1
    manifest = store.verify(1)
    assert manifest.lineage["run_id"] == trained.record.run_id
    assert manifest.lineage["config_digest"] == trained.config.digest()
    assert manifest.lineage["code_revision"] == trained.record.code_revision
    assert [move.after for move in store.audit()] == [1]


def test_splits_follow_each_other_in_time(trained):
    examples = trained.record.artifact("build-features", "examples")
    spans = []
    for split in ("train", "validation", "test"):
        times = pq.read_table(examples / f"{split}.parquet").column("timestamp").to_pylist()
        spans.append((min(times), max(times)))
    assert spans[0][1] < spans[1][0]
    assert spans[1][1] < spans[2][0]


def test_verdict_holds_metrics_with_intervals_beside_the_baselines(trained):
    verdict = json.loads(trained.record.artifact("evaluate", "verdict").read_text())
    metrics = verdict["metrics"]
    for model in ("funnel", "retrieval", "popularity", "recent_popularity"):
        low, mean, high = (metrics[f"{model}.ndcg_at_10{end}"] for end in (".low", "", ".high"))
        assert 0 <= low <= mean <= high <= 1
    assert {row["slice"] for row in verdict["slices"]} >= {"users with 0 past positives", "gender = F", "gender = M"}
    assert 0 <= metrics["ranking.auc"] <= 1
    assert 0 <= metrics["ranking.user_auc"] <= 1
    logged = next(step.metrics for step in trained.record.steps if step.name == "evaluate")
    assert logged["blessed"] == 1
    assert logged["ranking_user_auc"] == pytest.approx(metrics["ranking.user_auc"])
    assert len(logged) < 15


def test_summary_names_reports_that_open_without_a_network(trained):
    summary = run_summary(trained.folder, trained.record)
    assert len(summary["reports"]) == 3
    for path in summary["reports"]:
        text = Path(path).read_text(encoding="utf-8")
        assert text.lstrip().lower().startswith("<!doctype html>")
        assert "<script src" not in text
        assert "<link" not in text


def evaluate_against_the_live_release(trained, folder, ranker):
    from components.evaluate.config import BaselineRule, EvaluateConfig, RegressionRule
    from components.evaluate.evaluate import EvaluatePaths, evaluate

    record = trained.record
    config = EvaluateConfig(
        bootstrap_samples=20,
        item_refresh_seconds=86400,
        baselines=(BaselineRule(baseline="champion"),),
        regressions=(RegressionRule(largest_drop=1.0), RegressionRule(metric="ranking.user_auc", largest_drop=0.9)),
    )
    return evaluate(
        config,
        trained.config.features,
        trained.config.serving.gateway.candidates,
        EvaluatePaths(
            examples=record.artifact("build-features", "examples"),
            events=record.artifact("ingest", "events"),
            item_features=record.artifact("build-features", "item_features"),
            user_tower=record.artifact("train-retrieval", "user_tower"),
            item_tower=record.artifact("train-retrieval", "item_tower"),
            ranker=ranker,
            release_store=trained.home.releases,
            report=folder / "report.html",
            verdict=folder / "verdict.json",
        ),
    )


def test_the_live_models_once_more_are_not_compared_with_themselves(trained, tmp_path):
    verdict = evaluate_against_the_live_release(trained, tmp_path, trained.record.artifact("train-ranker", "ranker"))
    assert verdict["champion"]["state"] == "same"
    assert not [name for name in verdict["metrics"] if "champion" in name]
    assert [rule["outcome"] for rule in verdict["rules"]] == ["failed", "not judged", "not judged"]
    assert all("release 1" in rule["why"] for rule in verdict["rules"])
    assert not verdict["blessed"]


def test_live_release_is_scored_on_the_same_rows_as_its_challenger(trained, tmp_path):
    from components.train_ranker.train_ranker import RankerPaths, train_ranker
    from trainer.config import RankingConfig

    record = trained.record
    paths = RankerPaths(
        record.artifact("build-features", "examples"),
        record.artifact("build-features", "item_features"),
        record.artifact("train-retrieval", "user_tower"),
        record.artifact("train-retrieval", "item_tower"),
        tmp_path / "ranker",
    )
    train_ranker(trained.config.features, RankingConfig(epochs=1, embedding_dimension=4, hidden_units=(8,)), paths)
    verdict = evaluate_against_the_live_release(trained, tmp_path, tmp_path / "ranker")
    metrics = verdict["metrics"]
    assert verdict["champion"] == {"state": "compared", "release": 1, "note": "release 1, scored on the same rows"}
    released = json.loads(record.artifact("evaluate", "verdict").read_text())["metrics"]
    for name in ("ndcg_at_10", "recall_at_100", "coverage_at_10"):
        assert metrics[f"champion.{name}"] == released[f"funnel.{name}"]
    assert metrics["champion_ranking.user_auc"] == released["ranking.user_auc"]
    difference = metrics["funnel.ndcg_at_10"] - metrics["champion.ndcg_at_10"]
    assert metrics["funnel_minus_champion.ndcg_at_10"] == pytest.approx(difference, abs=1e-12)
    assert [rule["outcome"] for rule in verdict["rules"][1:]] == ["passed", "passed"]

"""The whole DAG on a tiny project, through the real local runner."""

import json
from pathlib import Path

import pyarrow.parquet as pq
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


def test_summary_names_reports_that_open_without_a_network(trained):
    summary = run_summary(trained.folder, trained.record)
    assert len(summary["reports"]) == 3
    for path in summary["reports"]:
        text = Path(path).read_text(encoding="utf-8")
        assert text.lstrip().lower().startswith("<!doctype html>")
        assert "<script src" not in text
        assert "<link" not in text


def test_live_release_is_scored_on_the_same_queries_as_its_challenger(trained, tmp_path):
    from components.evaluate.config import EvaluateConfig, RegressionRule
    from components.evaluate.evaluate import EvaluatePaths, evaluate

    record = trained.record
    verdict = evaluate(
        EvaluateConfig(bootstrap_samples=20, item_refresh_seconds=86400, regressions=(RegressionRule(),)),
        trained.config.features,
        trained.config.serving.gateway.candidates,
        EvaluatePaths(
            examples=record.artifact("build-features", "examples"),
            events=record.artifact("ingest", "events"),
            item_features=record.artifact("build-features", "item_features"),
            user_tower=record.artifact("train-retrieval", "user_tower"),
            item_tower=record.artifact("train-retrieval", "item_tower"),
            ranker=record.artifact("train-ranker", "ranker"),
            release_store=trained.home.releases,
            report=tmp_path / "report.html",
            verdict=tmp_path / "verdict.json",
        ),
    )
    # The challenger is the live release itself, read from the release store on the other side.
    metrics = verdict["metrics"]
    assert verdict["champion"] == "evaluated on the same queries"
    assert metrics["champion.ndcg_at_10"] == metrics["funnel.ndcg_at_10"] > 0
    assert metrics["funnel_minus_champion.ndcg_at_10"] == 0
    assert verdict["rules"][0]["threshold"] == metrics["champion.ndcg_at_10"] * 0.95
    assert verdict["blessed"]

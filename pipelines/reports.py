"""What a finished run and the release store have to say."""

import json
from pathlib import Path
from typing import Any

from pipelines.display import print_table
from pipelines.home import Home
from pipelines.local_run import RunRecord


def run_summary(folder: Path, record: RunRecord) -> dict[str, Any]:
    """The run's steps, the verdict where it came to one, the release, and where the reports lie."""
    summary: dict[str, Any] = {
        "run_id": record.run_id,
        "folder": str(folder),
        "seconds": record.seconds,
        "steps": [{"name": step.name, "seconds": step.seconds, "metrics": step.metrics} for step in record.steps],
        "reports": record.reports,
    }
    if "verdict" in record.artifacts.get("evaluate", {}):
        summary["verdict"] = json.loads(record.artifact("evaluate", "verdict").read_text(encoding="utf-8"))
    if "release" in record.artifacts.get("push", {}):
        summary["release"] = json.loads(record.artifact("push", "release").read_text(encoding="utf-8"))
    return summary


def print_run(summary: dict[str, Any]) -> None:
    """For a person: total time, the comparison with the baselines, the rules, the release, the reports."""
    print(f"  {'all steps':<16} {sum(step['seconds'] for step in summary['steps']):6.1f} s")
    if verdict := summary.get("verdict"):
        print("\nOn the test window, every positive a query (95% intervals over users):")
        _print_quality(verdict["metrics"])
        print("\nOn its impressions (95% intervals over users):")
        _print_ranker(verdict["metrics"])
        print("\nVerdict: " + ("blessed" if verdict["blessed"] else "not blessed"))
        _print_rules(verdict["rules"])
    if release := summary.get("release"):
        pushed = f"release {release.get('version')} is stable" if release["pushed"] else f"none: {release['why']}"
        print(f"\nRelease: {pushed}")
    if summary["reports"]:
        print("\nReports, to open in a browser:")
        for path in summary["reports"]:
            print(f"  {path}")


def list_releases(home: Home) -> list[dict[str, Any]]:
    """Every release, newest first, with its channel and headline metrics."""
    from serving.releases import ReleaseStore

    store = ReleaseStore(home.releases)
    channels = store.channels()
    names = {channels.stable: "stable", channels.canary: "canary", channels.previous: "previous"}
    listed = []
    for version in sorted(store.versions(), reverse=True):
        manifest = store.manifest(version)
        listed.append(
            {
                "version": version,
                "channel": names.get(version),
                "created": manifest.created,
                "run_id": manifest.lineage.get("run_id"),
                "code_revision": manifest.lineage.get("code_revision"),
                "metrics": manifest.metrics,
            }
        )
    return listed


def print_releases(listed: list[dict[str, Any]]) -> None:
    """One line a release."""
    if not listed:
        print("There is no release yet: `recloop run` trains one and releases it where it passes its gates.")
        return
    rows = [
        (
            release["version"],
            release["channel"],
            release["created"],
            release["metrics"].get("funnel.ndcg_at_10"),
            release["run_id"],
            release["code_revision"],
        )
        for release in listed
    ]
    print_table(("version", "channel", "created", "ndcg@10", "run", "code"), rows, indent="")


def _print_rules(rules: list[dict[str, Any]]) -> None:
    """What failed, then the rules over the whole window; of rules by slice only how many came out how."""
    if not rules:
        print("  no rule is configured: whatever was trained is released. Name rules under `evaluate`.")
    shown = {"failed": "FAILED", "passed": "passed", "not judged": "not judged"}
    for outcome, label in shown.items():
        of_outcome = [rule for rule in rules if rule["outcome"] == outcome]
        for rule in of_outcome:
            if outcome == "failed" or rule["slice"] is None:
                print(f"  {label:<10}  {rule['rule']}" + (f" ({rule['why']})" if rule["why"] else ""))
        in_slices = sum(rule["slice"] is not None for rule in of_outcome)
        if in_slices and outcome != "failed":
            print(f"  {label:<10}  {in_slices} of the rules by slice: the report names them")


def _print_ranker(metrics: dict[str, Any]) -> None:
    names = ("user_auc", "auc", "log_loss", "ece")
    models = {"ranking": "ranker", "champion_ranking": "live release"}
    rows = [
        [label, *(_with_interval(metrics, f"{model}.{name}") for name in names)]
        for model, label in models.items()
        if f"{model}.user_auc" in metrics
    ]
    print_table(("", "AUC by user", "AUC", "log loss", "calibration error"), rows)


def _print_quality(metrics: dict[str, Any]) -> None:
    models = {
        "funnel": "funnel",
        "retrieval": "retrieval",
        "champion": "live release",
        "popularity": "popularity",
        "recent_popularity": "recent popularity",
    }
    names = ("ndcg_at_10", "ndcg_at_20", "recall_at_10", "recall_at_100")
    rows = []
    for model, label in models.items():
        if f"{model}.{names[0]}" not in metrics:
            continue
        rows.append([label, *(_with_interval(metrics, f"{model}.{name}") for name in names)])
    print_table(("", "NDCG@10", "NDCG@20", "Recall@10", "Recall@100"), rows)


def _with_interval(metrics: dict[str, Any], name: str) -> str | None:
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", ".low", ".high"))
    interval = f" [{low:.4f}, {high:.4f}]" if low is not None and high is not None else ""
    return None if value is None else f"{value:.4f}{interval}"

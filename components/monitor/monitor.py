"""Compares what is served with what the live release was trained on."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from components.monitor.config import MonitorConfig
from components.monitor.drift import Distance, Finding, drift_findings, measure_distances, schema_findings
from components.monitor.report import render_report
from components.monitor.requests import Window, request_table, select_window, shown_table, stage_times
from components.validate.statistics import generate_statistics, read_schema, read_statistics
from feature_repo.errors import DataError
from feature_repo.files import write_file
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec


@dataclass(frozen=True)
class MonitorReport:
    """What was found.

    Attributes:
        status: `healthy`; `drift`, where distributions have moved; `anomalies`, where values do not fit the schema;
            `insufficient data`, where too few requests came to judge.
        release: the live release.
        window: the requests.
        findings: anomalies first, then drift, the largest first.
        distances: of every feature, by what it is of.
    """

    status: str
    release: int
    window: Window
    findings: list[Finding]
    distances: Mapping[str, list[Distance]]

    def metrics(self) -> dict[str, float]:
        """Figures by name."""
        drifted = sum(finding.kind == "drift" for finding in self.findings)
        judged = [d.value for measured in self.distances.values() for d in measured if d.judged]
        return {
            "requests": float(self.window.requests),
            "fallbacks": float(self.window.fallbacks),
            "anomalies": float(len(self.findings) - drifted),
            "drifted_features": float(drifted),
            "largest_distance": max(judged, default=0.0),
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status,
            "release": self.release,
            "requests": self.window.requests,
            "requests_of_other_releases": self.window.others,
            "fallbacks": self.window.fallbacks,
            "first": self.window.first,
            "last": self.window.last,
            "findings": [finding.as_dict() for finding in self.findings],
            "distances": {
                name: {distance.feature: round(distance.value, 6) for distance in measured}
                for name, measured in self.distances.items()
            },
        }


def monitor(
    config: MonitorConfig,
    release_store: Path | str,
    telemetry: Path | str,
    report: Path | str,
    findings: Path | str,
    now: datetime,
) -> MonitorReport:
    """Compares the window's requests with the live release and writes a page and the findings as JSON.

    Args:
        config: window and thresholds.
        release_store: folder of the release store.
        telemetry: folder of what the gateway recorded.
        report, findings: what to write.
        now: end of the window.

    Raises:
        DataError: there is no live release, or nothing was ever recorded.
    """
    from serving.releases import ReleaseStore
    from serving.telemetry import read_predictions

    store = ReleaseStore(Path(release_store))
    release = store.channels().stable
    if release is None:
        raise DataError(f"no release is live in {release_store}. `recloop run` trains one and releases it.")
    predictions = Path(telemetry) / "predictions"
    if not any(predictions.glob("*.jsonl")):
        raise DataError(
            f"no request is recorded in {predictions}. Start `recloop serve` and ask it for recommendations first."
        )
    since = now.timestamp() - config.window_hours * 3600
    window = select_window(read_predictions(predictions), release, since, config.largest_sample)
    compared = _compare(config, store, release, window)
    write_file(compared.page.encode(), report)
    text = json.dumps(compared.report.as_dict(), indent=2, allow_nan=False) + "\n"
    write_file(text.encode(), findings)
    _tell(config, compared.report)
    return compared.report


@dataclass(frozen=True)
class _Compared:
    report: MonitorReport
    page: str


def _compare(config: MonitorConfig, store: Any, release: int, window: Window) -> _Compared:
    training = read_statistics(store.part_path(release, "training_statistics.pb"))
    schema = read_schema(store.part_path(release, "schema.pbtxt"))
    spec = FeatureSpec.model_validate_json(store.part_path(release, "feature_spec.json").read_text(encoding="utf-8"))
    of_requests = (*spec.in_rows("user"), *spec.in_rows("context"))
    of_items = spec.in_rows("item")
    found: list[Finding] = []
    distances: dict[str, list[Distance]] = {}
    statistics = {}
    enough = window.requests >= config.minimum_requests
    if enough:
        requests = request_table(of_requests, window.sample)
        shown, unknown = shown_table(of_items, window.sample, _read_items(store.part_path(release, "items.arrow")))
        parts = (("requests", requests, of_requests), ("shown items", shown, of_items))
        for name, table, features in parts:
            if not table.num_rows:
                found.append(Finding(name, "anomaly", "no answer of the window has any"))
                continue
            statistics[name] = generate_statistics(table)
            found += schema_findings(statistics[name], schema, [feature.name for feature in features])
            distances[name] = measure_distances(statistics[name], training, schema, features, name == "requests")
        found += _unknown(unknown, release)
        found += drift_findings((d for measured in distances.values() for d in measured), config.drift_threshold)
    kinds = {finding.kind for finding in found}
    judged = "anomalies" if "anomaly" in kinds else "drift" if kinds else "healthy"
    status = judged if enough else "insufficient data"
    page = render_report(
        release,
        status,
        window,
        found,
        distances,
        statistics,
        training,
        stage_times(window.sample),
        config.drift_threshold,
    )
    return _Compared(MonitorReport(status, release, window, found, distances), page)


def _read_items(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the item table cannot be read from {path} ({reason}). Release again.") from error


def _unknown(unknown: Mapping[str, int], release: int) -> Iterable[Finding]:
    if unknown:
        item, times = max(unknown.items(), key=lambda entry: entry[1])
        text = f"{sum(unknown.values()):,} shown items are not in release {release}, most often {item!r} ({times:,})"
        yield Finding("item_id", "anomaly", text)


def _tell(config: MonitorConfig, report: MonitorReport) -> None:
    requests = report.window.requests
    if report.status == "insufficient data":
        report_progress(
            f"insufficient data: release {report.release} answered {requests:,} requests in the last "
            f"{config.window_hours:g} hours; `monitor.minimum_requests` is {config.minimum_requests:,}"
        )
        return
    report_progress(f"{report.status}: release {report.release}, {requests:,} requests")
    for finding in report.findings:
        report_progress(f"  {finding.feature}: {finding.text}")

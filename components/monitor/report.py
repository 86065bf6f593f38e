"""What was served beside what the release was trained on, as one HTML file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from components.monitor.drift import Distance, Finding
from components.monitor.requests import Window
from components.page import Html, heading, histogram, page, styled, table, tiles
from components.validate.statistics import columns_of
from components.validate.statistics_page import MOST_BARS, Bar, bars_of, shares_of

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

_TONES = {"healthy": "good", "drift": "warn", "anomalies": "bad", "insufficient data": "warn"}
_KEY = Html('<span class="key first"></span> training, <span class="key second"></span> serving')
_NOTES = {
    "requests": "User and context features as the gateway used them. Above {threshold} is drift; "
    "what follows from the hours of the window alone is not judged.",
    "shown items": "Features of the items that were shown. Not judged: the models chose these items, "
    "so they differ from what people came upon in training.",
}


def render_report(
    release: int,
    status: str,
    window: Window,
    findings: Sequence[Finding],
    distances: Mapping[str, Sequence[Distance]],
    statistics: Mapping[str, "DatasetFeatureStatisticsList"],
    training: "DatasetFeatureStatisticsList",
    times: Mapping[str, tuple[float, float]],
    threshold: float,
) -> str:
    """The page.

    Args:
        release: the live release.
        status: as in the findings.
        window: the requests.
        findings: what is not as it was.
        distances, statistics: of what is served, by what it is of: `requests` and `shown items`.
        training: statistics that the release was trained with.
        times: median and 99th percentile of each stage's milliseconds.
        threshold: largest distance that passes.
    """
    span = f"{_instant(window.first)} to {_instant(window.last)} UTC" if window.requests else "no requests"
    drifted = sum(finding.kind == "drift" for finding in findings)
    body: list[str] = [
        tiles(
            [
                ("status", styled(status, _TONES[status])),
                ("requests", f"{window.requests:,}"),
                ("anomalies", len(findings) - drifted),
                ("features drifted", drifted),
                ("degraded answers", f"{window.fallbacks:,}"),
                ("requests of other releases", f"{window.others:,}"),
            ]
        )
    ]
    if findings:
        body.append(heading("Findings", "Anomalies do not fit the release's schema; drift passes the threshold."))
        body.append(table(("feature", "kind", "finding"), [(f.feature, _kind(f), f.text) for f in findings]))
    for name, measured in distances.items():
        body.append(heading(f"Distances of {name}", _NOTES[name].format(threshold=f"{threshold:g}")))
        here, there = columns_of(statistics[name]), columns_of(training)
        rows = [
            (d.feature, d.measure, _value(d, threshold), _both(there[d.feature], here[d.feature]))
            for d in sorted(measured, key=lambda distance: -distance.value)
        ]
        body.append(table(("feature", "measure", "distance", _KEY), rows, numbers=(2,)))
    if times:
        body.append(heading("Time by stage", "Milliseconds."))
        rows_of_times = [(stage, f"{median:.2f}", f"{p99:.2f}") for stage, (median, p99) in times.items()]
        body.append(table(("stage", "median", "99th percentile"), rows_of_times, numbers=(1, 2)))
    return page("Serving monitor", f"Release {release}, {span}.", body)


def _kind(finding: Finding) -> Html:
    return styled(finding.kind, "bad" if finding.kind == "anomaly" else "warn")


def _value(distance: Distance, threshold: float) -> Html:
    if not distance.judged:
        return styled(f"{distance.value:.3f}", "soft")
    return styled(f"{distance.value:.3f}", "warn" if distance.value > threshold else "good")


def _both(training: Any, serving: Any) -> Html:
    """Both distributions over one axis; of strings, the values most frequent in either."""
    if training.HasField("num_stats"):
        return histogram([bars_of(training), bars_of(serving)])
    before, now = shares_of(training), shares_of(serving)
    ranked = sorted({*before, *now}, key=lambda value: -max(before.get(value, 0.0), now.get(value, 0.0)))[:MOST_BARS]
    return histogram(
        [
            [Bar(n, n + 1, of.get(value, 0.0), f"{value}: {of.get(value, 0.0):.1%}") for n, value in enumerate(ranked)]
            for of in (before, now)
        ]
    )


def _instant(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"

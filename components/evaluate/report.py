"""The evaluation as one HTML page that opens without a network."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; }
th { text-align: left; font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums; }
small { color: #666; } .yes { color: #14692b; } .no { color: #a3161a; } .note { color: #555; }
"""
_MODELS = ("funnel", "retrieval", "champion", "popularity", "recent_popularity")
_COLUMNS = (
    "ndcg_at_10",
    "ndcg_at_20",
    "map_at_10",
    "recall_at_10",
    "recall_at_20",
    "recall_at_50",
    "recall_at_100",
    "recall_at_1000",
)


def render_report(verdict: Mapping[str, Any]) -> str:
    """HTML of a verdict as `evaluate` returns it."""
    metrics = verdict["metrics"]
    models = [model for model in _MODELS if f"{model}.ndcg_at_10" in metrics]
    blessed = '<span class="yes">blessed</span>' if verdict["blessed"] else '<span class="no">not blessed</span>'
    quality = [
        [
            _label(model),
            *(_interval(*(metrics[f"{model}.{name}{end}"] for end in ("", ".low", ".high"))) for name in _COLUMNS),
        ]
        for model in models
    ]
    differences = [
        [
            f"funnel &minus; {_label(other)}",
            *(_difference(metrics, other, name) for name in ("ndcg_at_10", "ndcg_at_20")),
        ]
        for other in models
        if f"funnel_minus_{other}.ndcg_at_10" in metrics
    ]
    slices = [
        [escape(row["slice"]), f"{row['queries']:,}", f"{row['users']:,}", *(_slice_cell(row.get(m)) for m in models)]
        for row in verdict["slices"]
        if row["queries"]
    ]
    rules = [
        [
            f'<span class="{"yes" if rule["passed"] else "no"}">{"passed" if rule["passed"] else "failed"}</span>',
            escape(rule["rule"]),
        ]
        for rule in verdict["rules"]
    ]
    ranking = [
        [name.removeprefix("ranking.").replace("_", " "), f"{metrics[name]:.4f}"]
        for name in ("ranking.auc", "ranking.log_loss", "ranking.ece")
    ]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>
<h1>Evaluation: {blessed}</h1>
<p class="note">{verdict["queries"]:,} queries: each positive of the test window, with the features as of its instant;
the corpus is every item that the user had not engaged with. Intervals: 95%, bootstrapped over users.
Live release: {escape(verdict["champion"])}.</p>
<h2>Rules</h2>{_table(("", "rule"), rules)}
<h2>The funnel, its parts and the baselines</h2>{_table(("", *map(_heading, _COLUMNS)), quality)}
<p class="note">The funnel shows {metrics["funnel.coverage_at_10"]:.1%} of the catalogue in its first ten places.</p>
<h2>Paired differences</h2>{_table(("", "NDCG@10", "NDCG@20"), differences)}
<h2>NDCG@10 by slice</h2>{_table(("slice", "queries", "users", *map(_label, models)), slices)}
<h2>Ranker on the impressions of the test window</h2>{_table(("metric", "value"), ranking)}
<h2>Calibration</h2>{_calibration_plot(verdict["calibration"])}{_calibration_table(verdict["calibration"])}
</html>
"""


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def cells(tag: str, row: Iterable[str]) -> str:
        return "".join(f"<{tag}{' class=number' if place else ''}>{cell}</{tag}>" for place, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', headings)}</tr>{body}</table>"


def _label(model: str) -> str:
    return model.replace("_", " ")


def _heading(metric: str) -> str:
    name, k = metric.split("_at_")
    return f"{'Recall' if name == 'recall' else name.upper()}@{k}"


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.4f}<br><small>{low:.4f} to {high:.4f}</small>"


def _difference(metrics: Mapping[str, float], other: str, name: str) -> str:
    key = f"funnel_minus_{other}.{name}"
    return _interval(metrics[key], metrics[f"{key}.low"], metrics[f"{key}.high"])


def _slice_cell(value: list[float] | None) -> str:
    return "" if value is None else _interval(*value)


def _calibration_table(bins: list[dict[str, Any]]) -> str:
    rows = [
        [f"{b['low']:.1f} to {b['high']:.1f}", f"{b['count']:,}", f"{b['predicted']:.4f}", f"{b['observed']:.4f}"]
        for b in bins
    ]
    return _table(("predicted", "impressions", "mean predicted", "observed"), rows)


def _calibration_plot(bins: list[dict[str, Any]]) -> str:
    """Predicted against observed; dots on the diagonal are calibrated, their area is the number of impressions."""
    size, edge = 320, 34
    largest = max(b["count"] for b in bins)

    def at(value: float) -> float:
        return edge + value * (size - 2 * edge)

    dots = "".join(
        f'<circle cx="{at(b["predicted"]):.1f}" cy="{size - at(b["observed"]):.1f}" '
        f'r="{2 + 9 * (b["count"] / largest) ** 0.5:.1f}" fill="#2b6cb0" fill-opacity=".75"/>'
        for b in bins
    )
    return f"""<svg width="{size}" height="{size}" role="img" aria-label="calibration plot">
<rect x="{edge}" y="{edge}" width="{size - 2 * edge}" height="{size - 2 * edge}" fill="none" stroke="#bbb"/>
<line x1="{edge}" y1="{size - edge}" x2="{size - edge}" y2="{edge}" stroke="#bbb" stroke-dasharray="4"/>
{dots}<g text-anchor="middle" font-size="12"><text x="{size / 2}" y="{size - 8}">predicted</text>
<text x="12" y="{size / 2}" transform="rotate(-90 12 {size / 2})">observed</text></g></svg>"""

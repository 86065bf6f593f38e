"""The evaluation as one HTML page that opens without a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.evaluate.off_policy import render_off_policy
from components.page import Html, heading, page, styled, table, tiles

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
    body = [
        tiles(
            [
                ("verdict", styled("blessed", "good") if verdict["blessed"] else styled("not blessed", "bad")),
                ("funnel NDCG@10", f"{metrics['funnel.ndcg_at_10']:.4f}"),
                ("funnel Recall@100", f"{metrics['funnel.recall_at_100']:.4f}"),
                ("ranker AUC", f"{metrics['ranking.auc']:.4f}"),
                ("catalogue in the first ten places", f"{metrics['funnel.coverage_at_10']:.1%}"),
            ]
        ),
        heading("Rules", f"Live release: {verdict['champion']}."),
        table(("", "rule"), [_rule(rule) for rule in verdict["rules"]]),
        heading("The funnel, its parts and the baselines", "Intervals are 95%, bootstrapped over users."),
        _numbers(
            ("", *map(_title, _COLUMNS)), [[_name(m), *(_of(metrics, f"{m}.{c}") for c in _COLUMNS)] for m in models]
        ),
        heading("Paired differences", "The funnel less another model, query by query."),
        _numbers(("", "NDCG@10", "NDCG@20"), _differences(metrics, models)),
        heading("NDCG@10 by slice"),
        _numbers(
            ("slice", "queries", "users", *map(_name, models)), [_slice(row, models) for row in verdict["slices"]]
        ),
        heading("Ranker", "Every impression of the test window."),
        _numbers(
            ("metric", "value"), [[name, f"{metrics[f'ranking.{name}']:.4f}"] for name in ("auc", "log_loss", "ece")]
        ),
        heading("Calibration", "Dots on the diagonal are calibrated; their area is the number of impressions."),
        _calibration_plot(verdict["calibration"]),
        _numbers(("predicted", "impressions", "mean predicted", "observed"), _calibration(verdict["calibration"])),
        *render_off_policy(verdict["off_policy"]),
    ]
    subtitle = (
        f"{verdict['queries']:,} queries: each positive of the test window, with the features as of its instant; "
        "the corpus is every item that the user had not engaged with."
    )
    return page("Evaluation", subtitle, body)


def _numbers(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    return table(header, rows, numbers=range(1, len(header)))


def _rule(rule: Mapping[str, Any]) -> list[object]:
    return [styled("passed", "good") if rule["passed"] else styled("failed", "bad"), rule["rule"]]


def _name(model: str) -> str:
    return model.replace("_", " ")


def _title(metric: str) -> str:
    name, k = metric.split("_at_")
    return f"{'Recall' if name == 'recall' else name.upper()}@{k}"


def _interval(mean: float, low: float, high: float) -> Html:
    return Html(f'{mean:.4f}<br><span class="soft">{low:.4f}, {high:.4f}</span>')


def _of(metrics: Mapping[str, float], key: str) -> Html:
    return _interval(metrics[key], metrics[f"{key}.low"], metrics[f"{key}.high"])


def _differences(metrics: Mapping[str, float], models: Sequence[str]) -> list[list[object]]:
    return [
        [
            f"funnel \N{MINUS SIGN} {_name(model)}",
            *(_of(metrics, f"funnel_minus_{model}.{column}") for column in ("ndcg_at_10", "ndcg_at_20")),
        ]
        for model in models
        if f"funnel_minus_{model}.ndcg_at_10" in metrics
    ]


def _slice(row: Mapping[str, Any], models: Sequence[str]) -> list[object]:
    values = ("-" if row.get(model) is None else _interval(*row[model]) for model in models)
    return [row["slice"], f"{row['queries']:,}", f"{row['users']:,}", *values]


def _calibration(bins: Sequence[Mapping[str, Any]]) -> list[list[object]]:
    return [
        [f"{b['low']:.1f} to {b['high']:.1f}", f"{b['count']:,}", f"{b['predicted']:.4f}", f"{b['observed']:.4f}"]
        for b in bins
    ]


def _calibration_plot(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Predicted against observed."""
    size, edge = 320, 34
    far = size - edge
    largest = max(b["count"] for b in bins)

    def at(value: float) -> float:
        return edge + value * (size - 2 * edge)

    dots = "".join(
        f'<circle class="first" cx="{at(b["predicted"]):.1f}" cy="{size - at(b["observed"]):.1f}" '
        f'r="{2 + 9 * (b["count"] / largest) ** 0.5:.1f}" fill-opacity=".75"/>'
        for b in bins
    )
    return Html(
        f'<svg width="{size}" height="{size}" role="img" aria-label="predicted against observed">'
        f'<path d="M{edge} {edge}V{far}H{far}V{edge}ZM{edge} {far}L{far} {edge}" fill="none" stroke="#9aa3b2"/>{dots}'
        f'<g text-anchor="middle" font-size="12" fill="#7a8496"><text x="{size / 2}" y="{size - 10}">predicted</text>'
        f'<text x="14" y="{size / 2}" transform="rotate(-90 14 {size / 2})">observed</text></g></svg>'
    )

"""The evaluation as one HTML page that opens without a network."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from components.evaluate.measures import RANK_METRICS
from components.evaluate.off_policy import render_off_policy
from components.evaluate.reliability import reliability_plot
from components.page import Html, folded, heading, page, styled, table, tiles

_MODELS = ("funnel", "retrieval", "champion", "popularity", "recent_popularity")
_RANKER = {
    "user_auc": "AUC by user",
    "user_auc_by_impressions": "AUC by user, weighted by impressions",
    "auc": "AUC over all impressions",
    "log_loss": "log loss",
    "ece": "calibration error (ECE)",
}
_LISTS = {
    "coverage_at_10": "catalogue coverage",
    "gini_at_10": "Gini of exposure",
    "novelty_at_10": "novelty, bits",
    "diversity_at_10": "intra-list diversity",
}
_COLOURED_USERS = 20
_SLICED = ("ndcg_at_10", "recall_at_100")
_DIFFERENCES = ("ndcg_at_10", "ndcg_at_20", "map_at_10", "recall_at_10", "recall_at_50", "recall_at_100")
_STYLES = {"passed": "good", "failed": "bad", "not judged": "warn"}
_NONE = styled("\N{EN DASH}", "soft")


def render_report(verdict: Mapping[str, Any]) -> str:
    """HTML of a verdict as `evaluate` returns it."""
    metrics = verdict["metrics"]
    models = [model for model in _MODELS if f"{model}.ndcg_at_10" in metrics]
    corpus = "the whole catalogue" if verdict["repeat"] else "every item that the user had not engaged with"
    subtitle = (
        f"{verdict['queries']:,} queries of {verdict['users']:,} users: each positive of the test window, with the "
        f"features as of its instant; the corpus is {corpus}."
    )
    body = [
        _tiles(verdict),
        *_rules(verdict),
        heading("The funnel, its parts and the baselines", "Intervals are 95%, bootstrapped over users."),
        _numbers(
            ("", *map(_title, RANK_METRICS)),
            [[_name(m), *(_cell(metrics, f"{m}.{c}") for c in RANK_METRICS)] for m in models],
        ),
        *_differences(metrics, models),
        *_ranker(metrics),
        *_slices(verdict["slices"], models),
        *_fairness(verdict),
        *_answers(metrics),
        *_calibration(verdict),
        *render_off_policy(verdict["off_policy"]),
    ]
    return page("Evaluation", subtitle, body)


def _tiles(verdict: Mapping[str, Any]) -> Html:
    metrics = verdict["metrics"]
    captions = {
        "funnel.ndcg_at_10": "funnel NDCG@10",
        "funnel.recall_at_100": "funnel Recall@100",
        "ranking.user_auc": "ranker AUC by user",
        "ranking.auc": "ranker AUC",
        "ranking.ece": "calibration error",
    }
    blessed = styled("blessed", "good") if verdict["blessed"] else styled("not blessed", "bad")
    return tiles(
        [("verdict", blessed), *((captions[name], f"{metrics[name]:.4f}") for name in captions if name in metrics)]
    )


def _rules(verdict: Mapping[str, Any]) -> list[Html]:
    note = f"Live release: {verdict['champion']['note']}."
    if not verdict["rules"]:
        return [heading("Rules", f"{note} No rule is configured: whatever was trained is blessed.")]
    places = ("failed", "passed", "not judged")
    rows = [
        [styled(rule["outcome"], _STYLES[rule["outcome"]]), rule["rule"], rule["why"] or ""]
        for rule in sorted(verdict["rules"], key=lambda rule: places.index(rule["outcome"]))
    ]
    return [heading("Rules", note), table(("", "rule", "why"), rows)]


def _differences(metrics: Mapping[str, float], models: Sequence[str]) -> list[Html]:
    others = [model for model in models if f"funnel_minus_{model}.ndcg_at_10" in metrics]
    rows = [
        [f"funnel \N{MINUS SIGN} {_name(m)}", *(_difference(metrics, f"funnel_minus_{m}.{c}") for c in _DIFFERENCES)]
        for m in others
    ]
    note = "The funnel less another model on the same queries; green and red where the interval leaves zero out."
    return [heading("Paired differences", note), _numbers(("", *map(_title, _DIFFERENCES)), rows)]


def _ranker(metrics: Mapping[str, float]) -> list[Html]:
    sides = {"ranking": "candidate", "champion_ranking": "live release", "ranking_minus_champion": "difference"}
    shown = {side: label for side, label in sides.items() if f"{side}.user_auc" in metrics}
    rows = []
    for name, label in _RANKER.items():
        cells = [
            _difference(metrics, f"{side}.{name}", name in ("log_loss", "ece"))
            if side == "ranking_minus_champion"
            else _cell(metrics, f"{side}.{name}")
            for side in shown
        ]
        rows.append([label, *cells])
    note = (
        "Every impression of the test window. The ranker is judged by the AUC by user, the mean over users with both "
        "outcomes: what only tells users apart lifts the AUC over all impressions and orders nobody's list better."
    )
    return [heading("Ranker", note), _numbers(("", *shown.values()), rows)]


def _slices(slices: Sequence[Mapping[str, Any]], models: Sequence[str]) -> list[Html]:
    """NDCG and recall of every model, and the AUC by user of the rankers."""
    compared = "champion" in models
    rankers = {"ranking": "ranker", "champion_ranking": "live release"}
    found = [heading("Slices", "A dash where nothing falls into a slice.")]
    for place, metric in enumerate((*_SLICED, "user_auc")):
        ranker = metric == "user_auc"
        sides = [side for side in rankers if compared or side == "ranking"] if ranker else list(models)
        difference = f"{'ranking' if ranker else 'funnel'}_minus_champion.{metric}"
        counted = ("impressions", "impression_users") if ranker else ("queries", "users")
        names = [rankers[side] if ranker else _name(side) for side in sides]
        header = ("", counted[0], "users", *names, *(["difference"] if compared else []))
        rows: list[list[object]] = []
        for family, parts in groupby(slices, key=lambda part: part["family"]):
            rows.append([styled(_name(family), "soft"), *[""] * (len(header) - 1)])
            for part in parts:
                of_part = part["metrics"]
                cells = [_cell(of_part, f"{side}.{metric}") for side in sides]
                # So few users resample into intervals that are too narrow to point at.
                enough = part[counted[1]] >= _COLOURED_USERS
                cells += [_difference(of_part, difference, coloured=enough)] if compared else []
                rows.append([part["slice"], *(f"{part[name]:,}" for name in counted), *cells])
        caption = "Ranker: AUC by user" if ranker else _title(metric)
        found.append(folded(caption, _numbers(header, rows), unfolded=place == 0))
    return found


def _fairness(verdict: Mapping[str, Any]) -> list[Html]:
    found = []
    for name, groups in verdict["exposures"].items():
        note = (
            "Share of the first ten places (a place counts 1 / log2(1 + position)) against the share of what was "
            "asked for."
        )
        rows = [
            [
                row["group"],
                f"{row['wanted']:,.0f}",
                f"{row['relevance']:.1%}",
                f"{row['exposure']:.1%}",
                _NONE if row["ratio"] is None else _interval(row["ratio"], 2),
            ]
            for row in sorted(groups, key=lambda row: -row["wanted"])
        ]
        found += [
            heading(f"Exposure by {_name(name)}", note),
            _numbers(("", "queries", "asked for", "shown", "ratio"), rows),
        ]
    for one in verdict["equal_opportunities"]:
        rows = [
            [
                row["group"],
                f"{row['queries']:,}",
                f"{row['users']:,}",
                _interval(row["recall"]),
                "" if row["compared"] else "too few queries to compare",
            ]
            for row in one["groups"]
        ]
        apart = "Fewer than two groups are large enough to compare."
        if "difference" in one:
            mean, low, high = one["difference"]
            interval = "" if low is None else f" ({low:.4f} to {high:.4f})"
            apart = f"{one['best']} is ahead of {one['worst']} by {mean:.4f}{interval}."
        found += [
            heading(f"Equal opportunity by {_name(one['by'])}", apart),
            table(("", "queries", "users", _title(one["metric"]), ""), rows, numbers=(1, 2, 3)),
        ]
    return found


def _answers(metrics: Mapping[str, float]) -> list[Html]:
    columns = {name: label for name, label in _LISTS.items() if f"funnel.{name}" in metrics}
    rows = [
        [_name(model), *(_cell(metrics, f"{model}.{name}") for name in columns)]
        for model in ("funnel", "champion")
        if f"{model}.coverage_at_10" in metrics
    ]
    note = (
        "The first ten places. Coverage and Gini over the whole catalogue; novelty is the mean self-information of the "
        "items by their share of past events; diversity the mean distance of a list's pairs of items."
    )
    return [heading("Beyond accuracy", note), _numbers(("", *columns.values()), rows)]


def _calibration(verdict: Mapping[str, Any]) -> list[Html]:
    bins, metrics = verdict["calibration"], verdict["metrics"]
    interval = ""
    if "ranking.ece.low" in metrics:
        interval = f" ({metrics['ranking.ece.low']:.4f} to {metrics['ranking.ece.high']:.4f})"
    note = f"Expected calibration error {metrics['ranking.ece']:.4f}{interval}. Dots on the diagonal are calibrated."
    rows = [
        [f"{b['low']:.1f} to {b['high']:.1f}", f"{b['count']:,}", f"{b['predicted']:.4f}", f"{b['observed']:.4f}"]
        for b in bins
    ]
    return [
        heading("Calibration", note),
        reliability_plot(bins),
        _numbers(("predicted", "impressions", "mean predicted", "observed"), rows),
    ]


def _numbers(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    return table(header, rows, numbers=range(1, len(header)))


def _name(model: str) -> str:
    return "live release" if model == "champion" else model.replace("_", " ")


def _title(metric: str) -> str:
    name, k = metric.split("_at_")
    return f"{'Recall' if name == 'recall' else name.upper()}@{k}"


def _interval(values: Sequence[float | None], digits: int = 4) -> Html:
    mean, low, high = (None if value is None else f"{value:.{digits}f}" for value in values)
    if low is None:
        return Html(mean)
    return Html(f'{mean}<br><span class="soft">{low}, {high}</span>')


def _cell(metrics: Mapping[str, float], key: str) -> Html:
    if f"{key}.low" not in metrics:
        return Html(f"{metrics[key]:.4f}") if key in metrics else _NONE
    return _interval([metrics[key], metrics[f"{key}.low"], metrics[f"{key}.high"]])


def _difference(metrics: Mapping[str, float], key: str, less_is_better: bool = False, coloured: bool = True) -> Html:
    if f"{key}.low" not in metrics:
        return Html(f"{metrics[key]:+.4f}") if key in metrics else _NONE
    mean, low, high = (metrics[name] for name in (key, f"{key}.low", f"{key}.high"))
    better, worse = (high < 0, low > 0) if less_is_better else (low > 0, high < 0)
    classes = ["good"] if better and coloured else ["bad"] if worse and coloured else []
    return Html(f'{styled(f"{mean:+.4f}", *classes)}<br><span class="soft">{low:+.4f}, {high:+.4f}</span>')

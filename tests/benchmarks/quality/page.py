"""The tables, for the terminal and for docs/benchmarks.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.quality.ranks import METRICS
from tests.benchmarks.quality.results import OURS, PARTS, WITH_INTERVAL

TEMPLATE = Path(__file__).with_name("benchmarks.template.md")
MINUS = "\N{MINUS SIGN}"
TITLES = {name: name.replace("_at_", "@").replace("ndcg", "NDCG").replace("map", "MAP").replace("recall", "Recall")
          for name in METRICS}  # fmt: skip
IMPRESSION_COLUMNS = (
    ("auc", "AUC"),
    ("log_loss", "log loss"),
    ("user_auc", "AUC within users"),
    ("user_auc_by_impressions", "by impressions"),
    ("ece", "calibration error"),
)


def render_page(results: Mapping[str, Any]) -> str:
    """docs/benchmarks.md, given what `__main__` found on all protocols."""
    text = TEMPLATE.read_text(encoding="utf-8")
    parts = {protocol: _protocol(found) for protocol, found in results["protocols"].items()}
    parts["impressions"] = _impressions(results["impressions"]) if "impressions" in results else "Not measured."
    parts["verdict"] = _verdict(results)
    parts["tuning"] = _tuning(results)
    parts["trials"] = str(results["budget"]["trials"])
    parts["minutes"] = f"{results['budget']['seconds'] / 60:g}"
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    if "{{" in text:
        raise ValueError(f"the template names a part that there is not: {text[text.index('{{') :][:40]!r}")
    return text


def show_tables(results: Mapping[str, Any]) -> str:
    """The same tables, for a terminal."""
    shown = [f"\n{protocol}\n\n{_protocol(found)}" for protocol, found in results["protocols"].items()]
    if "impressions" in results:
        shown.append(f"\nimpressions\n\n{_impressions(results['impressions'])}")
    return "\n".join(shown)


def _protocol(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    measured = {name: values for name, values in rows.items() if "missing" not in values}
    best = {metric: max((values[metric] for values in measured.values()), default=0.0) for metric in METRICS}
    lines = []
    for name, values in rows.items():
        if "missing" in values:
            lines.append([name, f"did not run: {values['missing']}", *[""] * len(METRICS)])
            continue
        cells = [_value(values, metric, best[metric]) for metric in METRICS]
        lines.append([name, *cells, f"{values['seconds_to_train']:.1f}"])
    header = ["", *(TITLES[metric] for metric in METRICS), "seconds to train"]
    asked = f"{found['items_asked_for']:,} items asked for in " if found["items_asked_for"] != found["queries"] else ""
    about = f"{asked}{found['queries']:,} queries of {found['users']:,} users."
    return f"{about}\n\n{_table(header, lines)}\n\n{_differences(found['differences'])}"


def _value(values: Mapping[str, Any], metric: str, best: float) -> str:
    number = f"{values[metric]:.4f}"
    shown = f"**{number}**" if values[metric] == best else number
    interval = values.get(f"{metric}.interval")
    return shown if interval is None else f"{shown} ({interval[0]:.4f} to {interval[1]:.4f})"


def _differences(differences: Mapping[str, Any]) -> str:
    lines = []
    for ours in (OURS, *PARTS):
        for metric in WITH_INTERVAL:
            found = differences.get(f"{ours}.{metric}")
            if found:
                mean, low, high = found["difference"]
                interval = f"{_signed(mean)} ({_signed(low)} to {_signed(high)})"
                lines.append([ours, TITLES[metric], found["peer"], interval])
    return _table(["", "metric", "best peer", "difference"], lines)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", MINUS)


def _impressions(found: Mapping[str, Any]) -> str:
    lines = [[name, *(f"{values[key]:.4f}" for key, _ in IMPRESSION_COLUMNS)] for name, values in found["rows"].items()]
    about = f"{found['impressions']:,} impressions of {found['users']:,} users."
    return f"{about}\n\n{_table(['', *(title for _, title in IMPRESSION_COLUMNS)], lines)}"


def _verdict(results: Mapping[str, Any]) -> str:
    """Where the funnel is ahead and where it is behind, one line a protocol."""
    lines = []
    for protocol, found in results["protocols"].items():
        said = []
        for metric in WITH_INTERVAL:
            one = found["differences"].get(f"{OURS}.{metric}")
            if one is None:
                continue
            mean, low, high = one["difference"]
            where = "ahead of" if mean > 0 else "behind"
            sure = "" if low > 0 or high < 0 else ", within the interval"
            said.append(f"{where} {one['peer']} by {abs(mean):.4f} {TITLES[metric]}{sure}")
        lines.append(f"- {protocol.replace('_', ' ')}: the funnel is {' and '.join(said) or 'not measured'}.")
    return "\n".join(lines)


def _tuning(results: Mapping[str, Any]) -> str:
    """Trials and the best parameters of every contestant."""
    lines = []
    for protocol, found in results["protocols"].items():
        for record in found["tuning"].values():
            best = record["best"]
            chosen = ", ".join(f"{name} {value}" for name, value in best["params"].items())
            cells = [protocol.replace("_", " "), record["contestant"], str(len(record["trials"]))]
            lines.append([*cells, f"{best['value']:.4f}", chosen or "nothing to tune"])
    return _table(["protocol", "", "trials", "validation NDCG@10", "best parameters"], lines)


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

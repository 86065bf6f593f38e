"""Self-contained HTML pages: one file, no script, nothing fetched from anywhere."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

_STYLE = """
:root { --ink: #1f2430; --soft: #626b7d; --line: #dfe3ea; --ground: #ffffff; --band: #f5f7fa;
        --good: #1a7f4b; --warn: #9a6400; --bad: #c0282d; --first: #3b6fd4; --second: #e0872b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b5; --line: #343b48; --ground: #171a21; --band: #1f242d;
          --good: #4cc38a; --warn: #e2b04a; --bad: #ff7b80; --first: #7ba4f4; --second: #f0a659; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 76rem; background: var(--ground); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { margin: .25rem 0 .75rem; } .soft { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; min-width: 8rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1.1rem .4rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { font-weight: 600; } code { font: .85em ui-monospace, Menlo, Consolas, monospace; word-break: break-word; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.good, .warn, .bad { font-weight: 600; }
svg { display: block; } .first { fill: var(--first); } .second { fill: var(--second); }
svg .both { fill-opacity: .55; } .plot { margin: .5rem 0 1rem; }
.plot text { fill: var(--soft); font-size: 12px; text-anchor: middle; } .plot .small { font-size: 10px; }
.plot path { fill: none; stroke: var(--line); } .plot .even { stroke: var(--soft); stroke-dasharray: 4 4; }
.plot .line { stroke: var(--first); stroke-width: 1.5; }
details { margin: .75rem 0; } summary { cursor: pointer; font-weight: 600; }
.key { display: inline-block; width: .7em; height: .7em; border-radius: 2px; }
.key.first { background: var(--first); } .key.second { background: var(--second); }
"""


class Html(str):
    """Text that is markup already; all other text is escaped."""


class Bar(NamedTuple):
    """A bar of a distribution: from `low` to `high` on the axis, with a share of the values."""

    low: float
    high: float
    share: float
    label: str


def page(title: str, subtitle: str, body: Iterable[str]) -> str:
    """A whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="soft">{text(subtitle)}</p>\n' + "\n".join(body) + "\n</body></html>\n"
    )


def text(value: object) -> Html:
    """A value as markup."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def styled(value: object, *classes: str) -> Html:
    """A value with classes of the style sheet: good, warn, bad, soft."""
    return Html(f'<span class="{" ".join(classes)}">{text(value)}</span>')


def heading(value: str, note: str = "") -> Html:
    """A section's heading and a line beneath it."""
    beneath = f'\n<p class="soft">{text(note)}</p>' if note else ""
    return Html(f"<h2>{escape(value)}</h2>{beneath}")


def folded(caption: str, body: str, unfolded: bool = False) -> Html:
    """A part that is unfolded by a click; or folded, where it is shown at first."""
    return Html(f"<details{' open' if unfolded else ''}><summary>{escape(caption)}</summary>\n{body}</details>")


def tiles(values: Iterable[tuple[str, object]]) -> Html:
    """The few figures that matter most, as (caption, figure)."""
    inner = "".join(f'<div class="tile"><b>{text(figure)}</b>{text(caption)}</div>' for caption, figure in values)
    return Html(f'<div class="tiles">{inner}</div>')


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> Html:
    """A table; columns of `numbers` are right-aligned, the first is a name."""
    right = set(numbers)

    def kind(index: int) -> str:
        return ' class="number"' if index in right else ' class="name"' if index == 0 else ""

    head = "".join(f"<th{kind(i) if i else ''}>{text(cell)}</th>" for i, cell in enumerate(header))
    lines = ("".join(f"<td{kind(i)}>{text(cell)}</td>" for i, cell in enumerate(row)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>')


def histogram(series: Sequence[Sequence[Bar]], width: int = 190, height: int = 44) -> Html:
    """Distributions over one axis, each in a colour of its own, as an inline picture.

    Args:
        series: at most two distributions. Heights are shares divided by widths, so that bars of unequal width compare.
        width, height: of the picture, in pixels.
    """
    bars = [bar for one in series for bar in one]
    if not bars:
        return Html("")
    low, high = min(bar.low for bar in bars), max(bar.high for bar in bars)
    span = (high - low) or 1.0
    # A bar without width would be infinitely high, and everything beside it flat.
    thinnest = span / 10 if high == low else span / 40
    tallest = max(bar.share / max(bar.high - bar.low, thinnest) for bar in bars) or 1.0
    drawn = []
    for number, one in enumerate(series):
        classes = ("first", "second")[number] + (" both" if len(series) > 1 else "")
        for bar in one:
            tall = (height - 2) * bar.share / max(bar.high - bar.low, thinnest) / tallest
            left = (bar.low - low) / span * (width - 4)
            wide = max((max(bar.high - bar.low, thinnest)) / span * (width - 4) - 0.5, 1.0)
            drawn.append(
                f'<rect class="{classes}" x="{left:.1f}" y="{height - tall:.1f}" width="{wide:.1f}" '
                f'height="{max(tall, 0.0):.1f}"><title>{escape(bar.label)}</title></rect>'
            )
    return Html(f'<svg width="{width}" height="{height}" role="img">{"".join(drawn)}</svg>')

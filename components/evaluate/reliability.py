"""The reliability plot: what probabilities promise against what came."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from components.page import Html

_SIDE, _LEFT, _TOP, _COUNTS = 300, 46, 12, 64
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def reliability_plot(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Observed rate by predicted probability, and beneath it how many impressions each bin holds.

    Args:
        bins: `low`, `high`, `count`, `predicted` and `observed` of each, as `calibration_bins` gives them.
    """
    bottom, counts = _TOP + _SIDE, _TOP + _SIDE + 34
    largest = max((one["count"] for one in bins), default=1)

    def x(value: float) -> float:
        return _LEFT + value * _SIDE

    def y(value: float) -> float:
        return bottom - value * _SIDE

    grid = "".join(
        f'<path class="grid" d="M{x(tick):.1f} {_TOP}V{bottom}M{_LEFT} {y(tick):.1f}H{_LEFT + _SIDE}"/>'
        f'<text x="{x(tick):.1f}" y="{bottom + 16}">{tick:g}</text>'
        f'<text x="{_LEFT - 16}" y="{y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in _TICKS
    )
    points = [(x(one["predicted"]), y(one["observed"]), one) for one in bins]
    line = " ".join(f"{'ML'[place > 0]}{left:.1f} {top:.1f}" for place, (left, top, _) in enumerate(points))
    dots = "".join(
        f'<circle class="first" cx="{left:.1f}" cy="{top:.1f}" r="4.5"><title>{escape(_told(one))}</title></circle>'
        for left, top, one in points
    )
    bars = []
    for one in bins:
        tall = max(1.0, (_COUNTS - 16) * one["count"] / largest)
        middle = x((one["low"] + one["high"]) / 2)
        wide = (one["high"] - one["low"]) * _SIDE - 3
        bars.append(
            f'<rect class="first both" x="{middle - wide / 2:.1f}" y="{counts + _COUNTS - tall:.1f}" '
            f'width="{wide:.1f}" height="{tall:.1f}"><title>{escape(_told(one))}</title></rect>'
            f'<text class="small" x="{middle:.1f}" y="{counts + _COUNTS - tall - 4:.1f}">{_short(one["count"])}</text>'
        )
    height = counts + _COUNTS + 24
    return Html(
        f'<svg class="plot" width="{_LEFT + _SIDE + 16}" height="{height}" role="img" '
        f'aria-label="observed rate by predicted probability">{grid}'
        f'<path class="even" d="M{_LEFT} {bottom}L{_LEFT + _SIDE} {_TOP}"/><path class="line" d="{line}"/>{dots}'
        f'<text transform="translate(12 {_TOP + _SIDE / 2}) rotate(-90)">observed rate</text>{"".join(bars)}'
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 6}">predicted probability; impressions in each bin</text></svg>'
    )


def _told(one: Mapping[str, Any]) -> str:
    return f"{one['count']:,} impressions: predicted {one['predicted']:.3f}, observed {one['observed']:.3f}"


def _short(count: int) -> str:
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 10_000 else f"{count / 1000:,.0f}k"

"""TFDV statistics as one HTML file."""

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from components.page import Bar, heading, histogram, page, styled, table
from components.validate.statistics import columns_of

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

MOST_BARS = 30
"""Values of a string column that its picture shows, the most frequent first."""

MOST_NAMED = 3
"""Of which so many are named."""

SKETCH_SIZE = 1024
"""Values that TFDV counts exactly. Of a column with more it may count each too often, by one in so many rows."""

_STRING_HEADER = ("text", "present", "values a row", "different", "most frequent", "distribution")
_NUMBER_HEADER = ("number", "present", "mean", "deviation", "zeros", "smallest", "median", "largest", "distribution")


def render_statistics(statistics: Mapping[str, "DatasetFeatureStatisticsList"], instants: Collection[str] = ()) -> str:
    """The page: a section for each table, a line for each column.

    Args:
        statistics: by table.
        instants: columns whose numbers are unix seconds.
    """
    body: list[str] = []
    for name, of_table in statistics.items():
        rows = of_table.datasets[0].num_examples
        columns = columns_of(of_table)
        numeric = [(key, column) for key, column in columns.items() if column.HasField("num_stats")]
        strings = [(key, column) for key, column in columns.items() if column.HasField("string_stats")]
        body.append(heading(name, f"{rows:,.0f} rows, {len(columns)} columns"))
        if strings:
            body.append(table(_STRING_HEADER, [_string_row(*entry) for entry in strings], numbers=(1, 2, 3)))
        if numeric:
            lines = [_number_row(key, column, key in instants) for key, column in numeric]
            body.append(table(_NUMBER_HEADER, lines, numbers=range(1, 8)))
    return page("Data statistics", "Computed by TensorFlow Data Validation.", body)


def bars_of(column: Any) -> list[Bar]:
    """The distribution of a column: of numbers by their value, of strings by rank, the most frequent first."""
    if column.HasField("num_stats"):
        standard = [h for h in column.num_stats.histograms if h.type == h.STANDARD]
        buckets = [b for h in standard for b in h.buckets if math.isfinite(b.low_value) and math.isfinite(b.high_value)]
        total = sum(bucket.sample_count for bucket in buckets) or 1.0
        return [
            Bar(
                bucket.low_value,
                bucket.high_value,
                bucket.sample_count / total,
                f"{bucket.low_value:.4g} to {bucket.high_value:.4g}: {bucket.sample_count / total:.1%}",
            )
            for bucket in buckets
        ]
    shares = shares_of(column)
    ranked = list(shares.items())[:MOST_BARS]
    return [Bar(place, place + 1, share, f"{value}: {share:.1%}") for place, (value, share) in enumerate(ranked)]


def shares_of(column: Any) -> dict[str, float]:
    """Share of each value of a string column among all its values, the most frequent first."""
    common = column.string_stats.common_stats
    total = common.num_non_missing * common.avg_num_values or 1.0
    buckets = column.string_stats.rank_histogram.buckets
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def _string_row(name: str, column: Any) -> tuple[object, ...]:
    stats = column.string_stats
    shares = list(shares_of(column).items())
    present, values = _present(stats.common_stats), _per_row(stats.common_stats)
    most = stats.rank_histogram.buckets[0].sample_count if shares else 0
    total = stats.common_stats.num_non_missing * stats.common_stats.avg_num_values
    if most <= 1 + 2 * total / SKETCH_SIZE:
        said = "no frequent value" if most else "no value"
        return name, present, values, f"{stats.unique:,}", styled(said, "soft"), ""
    named = [f"{value} ({share:.1%})" for value, share in shares[:MOST_NAMED]]
    return name, present, values, f"{stats.unique:,}", ", ".join(named), histogram([bars_of(column)])


def _number_row(name: str, column: Any, is_instant: bool) -> tuple[object, ...]:
    stats = column.num_stats
    present = _present(stats.common_stats)
    if not stats.common_stats.num_non_missing:
        return name, present, *["-"] * 6, styled("no value", "soft")
    total = stats.common_stats.num_non_missing * stats.common_stats.avg_num_values
    bounds = [_instant(x) if is_instant else f"{x:,.6g}" for x in (stats.min, stats.median, stats.max)]
    mean, deviation = ("-", "-") if is_instant else (f"{stats.mean:,.4g}", f"{stats.std_dev:,.4g}")
    return name, present, mean, deviation, f"{stats.num_zeros / total:.1%}", *bounds, histogram([bars_of(column)])


def _instant(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _present(common: Any) -> str:
    rows = common.num_non_missing + common.num_missing
    return f"{common.num_non_missing / rows:.1%}" if rows else "-"


def _per_row(common: Any) -> str:
    if common.min_num_values == common.max_num_values:
        return str(common.max_num_values)
    return f"{common.min_num_values} to {common.max_num_values}"

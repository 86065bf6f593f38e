"""What the canonical tables must be like, made from their schemas and the feature spec.

Great Expectations takes seconds to import: an expectation is described here without it and made where data is checked.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from feature_repo.spec import ENTITY_KEYS, ColumnSource, Feature, FeatureSpec

Severity = Literal["error", "warning"]

PRESENT_SHARE = 0.5
"""An attribute should be there in so large a share of rows."""

KNOWN_SHARE = 0.95
"""So large a share of events should be of users and items that are in their tables."""

ENTRIES = " (entries)"
"""Ends the name of the column that counts the entries of a list."""

KNOWN = " (known)"
"""Ends the name of the column that says whether an event's id is in its table."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Expectation:
    """What a column must be like.

    Attributes:
        table, column: of which it is expected.
        kind: Great Expectations' class.
        text: what is expected, for people: "<column> <text>".
        severity: `error` stops the run, `warning` is shown.
        arguments: of the class.
    """

    table: str
    column: str
    kind: str
    text: str
    severity: Severity = "error"
    arguments: Mapping[str, Any] = field(default_factory=dict)


def make_expectations(
    features: FeatureSpec, columns: Mapping[str, Collection[str]], latest: datetime
) -> list[Expectation]:
    """All expectations of a project.

    Args:
        features: the feature spec.
        columns: names of the columns that each table has, as `checked_columns` gives them. Of a missing one only its
            presence is expected.
        latest: instant after which no timestamp may lie.
    """
    expected = [
        *_ids("users", "user_id"),
        *_ids("items", "item_id"),
        *_occurrences("events", latest),
        *_occurrences("impressions", latest),
        *_outcomes(),
    ]
    for table, side in (("users", "user"), ("items", "item"), ("impressions", "context")):
        for feature in features.of(side):
            source = feature.source
            if isinstance(source, ColumnSource) and source.column != ENTITY_KEYS.get(side):
                expected += _attribute(table, source.column, feature)
    return [e for e in expected if e.kind == "ExpectColumnToExist" or e.column in columns[e.table]]


def checked_columns(table: pa.Table, known: Mapping[str, pa.Array]) -> pa.Table:
    """The table as expectations see it: lists by their number of entries, ids with whether they are known.

    Args:
        table: n rows.
        known: by id column, the ids that are known.
    """
    for name in table.column_names:
        if pt.is_list(table.schema.field(name).type):
            entries = pc.list_value_length(table.column(name))
            table = table.drop([name]).append_column(name + ENTRIES, entries)
        elif name in known:
            table = table.append_column(name + KNOWN, pc.is_in(table.column(name), known[name]))
    return table


def _ids(table: str, key: str) -> list[Expectation]:
    return [
        *_present(table, key),
        Expectation(table, key, "ExpectColumnValuesToBeUnique", "is unique"),
    ]


def _occurrences(table: str, latest: datetime) -> list[Expectation]:
    expected = [e for column in ("user_id", "item_id", "timestamp") for e in _present(table, column)]
    between = {"min_value": _EPOCH, "max_value": latest}
    words = f"lies between 1970 and {latest:%Y-%m-%d %H:%M}"
    expected.append(Expectation(table, "timestamp", "ExpectColumnValuesToBeBetween", words, arguments=between))
    for column in ("user_id", "item_id"):
        expected.append(
            Expectation(
                table,
                column + KNOWN,
                "ExpectColumnValuesToBeInSet",
                f"is true in {KNOWN_SHARE:.0%} of rows, the id being in its table",
                "warning",
                {"value_set": [True], "mostly": KNOWN_SHARE},
            )
        )
    return expected


def _outcomes() -> list[Expectation]:
    both = {"min_value": 0, "max_value": 1, "strict_min": True, "strict_max": True}
    return [
        *_present("events", "event_type"),
        *_present("impressions", "request_id"),
        *_present("impressions", "label"),
        Expectation(
            "impressions", "label", "ExpectColumnValuesToBeInSet", "is 0 or 1", arguments={"value_set": [0, 1]}
        ),
        Expectation("impressions", "label", "ExpectColumnMeanToBeBetween", "has both 0 and 1", arguments=both),
        Expectation(
            "impressions",
            "propensity",
            "ExpectColumnValuesToBeBetween",
            "lies in (0, 1]",
            arguments={"min_value": 0, "max_value": 1, "strict_min": True},
        ),
        Expectation(
            "impressions", "position", "ExpectColumnValuesToBeBetween", "is not negative", "warning", {"min_value": 0}
        ),
    ]


def _present(table: str, column: str) -> list[Expectation]:
    return [
        Expectation(table, column, "ExpectColumnToExist", "exists"),
        Expectation(table, column, "ExpectColumnValuesToNotBeNull", "is never missing"),
    ]


def _attribute(table: str, column: str, feature: Feature) -> list[Expectation]:
    is_list = feature.kind in ("sequence", "embedding")
    shown = column + ENTRIES if is_list else column
    words = f"exists{' and is a list' if is_list else ''}, for the feature {feature.name}"
    expected = [Expectation(table, shown, "ExpectColumnToExist", words)]
    expected.append(
        Expectation(
            table,
            shown,
            "ExpectColumnValuesToNotBeNull",
            f"is there in {PRESENT_SHARE:.0%} of rows",
            "warning",
            {"mostly": PRESENT_SHARE},
        )
    )
    if feature.kind == "sequence":
        mostly = {"min_value": 1, "mostly": PRESENT_SHARE}
        words = f"is at least 1 in {PRESENT_SHARE:.0%} of rows"
        expected.append(Expectation(table, shown, "ExpectColumnValuesToBeBetween", words, "warning", mostly))
    elif feature.kind == "embedding":
        exact = {"value_set": [feature.length]}
        expected.append(
            Expectation(table, shown, "ExpectColumnValuesToBeInSet", f"is {feature.length}", arguments=exact)
        )
    elif feature.kind in ("categorical", "text"):
        varied = {"min_value": 2}
        words = "has at least 2 different values"
        expected.append(Expectation(table, shown, "ExpectColumnUniqueValueCountToBeBetween", words, "warning", varied))
    if feature.minimum is not None or feature.maximum is not None:
        bounds = {"min_value": feature.minimum, "max_value": feature.maximum}
        if feature.minimum is None:
            words = f"is at most {feature.maximum:g}"
        elif feature.maximum is None:
            words = f"is at least {feature.minimum:g}"
        else:
            words = f"lies between {feature.minimum:g} and {feature.maximum:g}"
        expected.append(Expectation(table, shown, "ExpectColumnValuesToBeBetween", words, arguments=bounds))
    return expected

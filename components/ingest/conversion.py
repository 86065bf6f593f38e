"""From raw columns to canonical ones; a row that does not fit is set aside with the reason.

Every column is turned into SQL, an expression of its value and the conditions under which the row is rejected, so that
DuckDB converts all rows at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from components.ingest.config import ColumnMapping, TableSource
from components.ingest.quarantine import malformed_lines, rejected_rows
from components.ingest.sources import RawFile
from feature_repo.errors import DataError
from feature_repo.tables import TIMESTAMP

ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "list": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
    "timestamp": TIMESTAMP,
}
"""How an ingested column of each declared type is stored."""

PLACE = ("_file", "_place")
"""Columns of converted rows: which file they come from, and where among its rows they stood (from 0)."""

_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_YEAR_10000 = 253_402_300_800_000_000
_WHOLE = r"^\s*[+-]?\d+(\.0*)?\s*$"


@dataclass(frozen=True)
class Column:
    """A canonical column.

    Attributes:
        type: a key of `ARROW_TYPES`.
        required: a row without it is rejected.
        valid: condition that a value must meet, in SQL with {} for the value; and what is said of one that does not.
        at_most: largest value, of a timestamp in unix microseconds.
    """

    type: str = "string"
    required: bool = False
    valid: tuple[str, str] | None = None
    at_most: int | None = None


def convert(
    name: str, source: TableSource, columns: Mapping[str, Column], file: RawFile, number: int
) -> tuple[pa.Table, pa.Table]:
    """Converts one file.

    Args:
        name: of the table.
        source: where the columns come from.
        columns: the columns of the result.
        file: the raw rows.
        number: of the file among the table's files; `_file` of the result.

    Returns:
        The rows that fit, with `columns` and `PLACE`; and the rejected ones as `quarantine.SCHEMA`.
    """
    raw: dict[str, pa.ChunkedArray | pa.Array] = {"place": pa.array(range(file.table.num_rows), pa.int64())}
    values, checks = [], []
    for index, (column, kind) in enumerate(columns.items()):
        mapping = source.columns.get(column)
        if mapping is None:
            mapping = ColumnMapping(column=column)
            raw[f"r{index}"] = pa.array([source.constants[column]] * file.table.num_rows, pa.string())
        else:
            raw[f"r{index}"] = _plain(file.table.column(mapping.column))
        found = raw[f"r{index}"].type
        if kind.type == "timestamp" and mapping.unit is None and (pt.is_integer(found) or pt.is_floating(found)):
            raise DataError(
                f"{name}: {column} comes from {mapping.column!r}, a number without a unit. "
                f"Set `ingest.{name}.columns.{column}.unit` to s, ms or us."
            )
        values.append(f"{_value(kind.type, mapping, f'r{index}', found)} AS v{index}")
        checks += [(*check, f"r{index}") for check in _checks(column, kind, mapping, index)]
    reason = " ".join(f"WHEN {condition} THEN {_literal(text)}" for condition, text, _ in checks)
    sample = " ".join(f"WHEN {condition} THEN CAST({cell} AS VARCHAR)" for condition, _, cell in checks)
    query = f"""
        SELECT *, CASE {reason} ELSE NULL END AS reason, CASE {sample} ELSE NULL END AS sample
        FROM (SELECT *, {", ".join(values)} FROM raw) ORDER BY place
    """
    raw_table = pa.table(raw)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("raw", raw_table)
        rows = connection.execute(query).fetch_arrow_table()
    fits = pc.is_null(rows.column("reason"))
    good, bad = rows.filter(fits), rows.filter(pc.invert(fits))
    arrays = [pc.cast(good.column(f"v{i}"), ARROW_TYPES[kind.type]) for i, kind in enumerate(columns.values())]
    table = pa.table(
        [*arrays, pa.array([number] * good.num_rows, pa.int32()), good.column("place")], names=[*columns, *PLACE]
    )
    rejected = rejected_rows(name, file, bad.column("place"), bad.column("reason"), bad.column("sample"))
    return table, pa.concat_tables([rejected, malformed_lines(name, file)])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Instants of any resolution as UTC microseconds, so that one expression reads them all."""
    if pt.is_timestamp(column.type) or pt.is_date(column.type):
        return pc.cast(column, TIMESTAMP, safe=False)
    return column


def _value(kind: str, mapping: ColumnMapping, cell: str, found: pa.DataType) -> str:
    """SQL of the value; null where there is none or where it cannot be read."""
    missing = ", ".join(_literal(text) for text in mapping.missing)
    text = f"CAST({cell} AS VARCHAR)"
    if pt.is_floating(found):
        # Ids that pandas stored as floats, because one was missing.
        text = f"CASE WHEN {cell} = floor({cell}) THEN CAST(CAST({cell} AS HUGEINT) AS VARCHAR) ELSE {text} END"
        text = f"CASE WHEN isfinite({cell}) THEN {text} END"
    if missing:
        text = f"CASE WHEN {text} NOT IN ({missing}) THEN {text} END"
    number = f"TRY_CAST({text} AS DOUBLE)"
    number = f"CASE WHEN isfinite({number}) THEN {number} END"
    if kind == "string":
        return text
    if kind == "number":
        return number
    if kind == "integer":
        return f"CASE WHEN regexp_matches({text}, {_literal(_WHOLE)}) THEN TRY_CAST({text} AS BIGINT) END"
    if kind == "list":
        parts = f"string_split({text}, {_literal(mapping.split)})"
        entries = f"CAST({cell} AS VARCHAR[])" if pt.is_list(found) else parts
        return f"list_filter({entries}, x -> x <> '')"
    if kind == "vector":
        # Text may hold the vector in brackets, as JSON writes it.
        parts = f"string_split(trim({text}, '[] '), {_literal(mapping.split)})"
        entries = f"TRY_CAST({cell} AS DOUBLE[])" if pt.is_list(found) else f"TRY_CAST({parts} AS DOUBLE[])"
        return f"CASE WHEN len(list_filter({entries}, x -> x IS NULL OR NOT isfinite(x))) = 0 THEN {entries} END"
    if pt.is_timestamp(found):
        return f"epoch_us({cell})"
    if mapping.unit:
        scaled = f"round({number} * {_MICROSECONDS[mapping.unit]})"
        return f"CASE WHEN abs({scaled}) < {_YEAR_10000} THEN CAST({scaled} AS BIGINT) END"
    instant = f"TRY_CAST({text} AS TIMESTAMPTZ)"
    return f"CASE WHEN isfinite({instant}) THEN epoch_us({instant}) END"


def _checks(column: str, kind: Column, mapping: ColumnMapping, index: int) -> list[tuple[str, str]]:
    """Conditions, in SQL, under which a row is rejected, and the reason given."""
    cell, value = f"r{index}", f"v{index}"
    text = f"CAST({cell} AS VARCHAR)"
    missing = ", ".join(_literal(word) for word in mapping.missing) or "NULL"
    # A float that is not a number is how pandas writes a missing one.
    absent = f"({cell} IS NULL OR coalesce({text} IN ({missing}), false) OR lower({text}) = 'nan')"
    checks = []
    if kind.required:
        empty = f"{absent} OR trim({text}) = ''" if kind.type == "string" else absent
        checks.append((f"({empty})", f"{column} is missing"))
    nouns = {"number": "a number", "integer": "a whole number", "timestamp": "a timestamp", "vector": "a vector"}
    if kind.type in nouns:
        noun = nouns[kind.type]
        checks.append((f"({value} IS NULL AND NOT {absent})", f"{column} is not {noun}"))
    if kind.valid:
        checks.append((f"(NOT {kind.valid[0].format(value)})", f"{column} {kind.valid[1]}"))
    if kind.at_most is not None:
        checks.append((f"({value} > {kind.at_most})", f"{column} lies in the future"))
    return checks


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

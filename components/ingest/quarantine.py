"""Rows that do not fit: kept as they came, with the reason, and counted."""

import json
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa

from components.ingest.sources import RawFile
from feature_repo.errors import DataError

SCHEMA = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.string()),
        pa.field("raw", pa.string(), nullable=False),
    ]
)
"""`source` is the file and `row` its number in it, from 1 without the header; `value` is what the reason speaks of;
`raw` is the whole row as JSON."""


def rejected_rows(
    table: str, file: RawFile, places: pa.ChunkedArray, reasons: pa.ChunkedArray, values: pa.ChunkedArray
) -> pa.Table:
    """Rows of one file for the quarantine.

    Args:
        table: name of the table.
        file: where they come from.
        places: [n] indices into the file's rows.
        reasons: [n] why each is rejected.
        values: [n] what the reason speaks of; null where there is nothing to show.
    """
    if not len(places):
        return SCHEMA.empty_table()
    raw = file.table.take(places)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("raw", raw.append_column("_row", pa.array(range(raw.num_rows), pa.int64())))
        texts = connection.execute(
            "SELECT to_json(t) AS raw FROM (SELECT COLUMNS(c -> c <> '_row') FROM raw ORDER BY _row) AS t"
        ).fetch_arrow_table()
    count = raw.num_rows
    return _table(table, file, [file.rows.take(places.combine_chunks()), reasons, values, texts.column(0)], count)


def malformed_lines(table: str, file: RawFile) -> pa.Table:
    """Lines that could not be told into fields, for the quarantine."""
    numbers = [number for number, _ in file.malformed]
    lines = [text for _, text in file.malformed]
    reasons = ["wrong number of fields"] * len(lines)
    raw = [json.dumps({"line": line}, ensure_ascii=False) for line in lines]
    return _table(table, file, [numbers, reasons, lines, raw], len(lines))


def check_share(table: str, rejected: pa.Table, read: int, max_share: float, path: Path | str) -> None:
    """Refuses a table of which too much was rejected.

    Args:
        table: name of the table.
        rejected: its rejected rows, as `SCHEMA`.
        read: how many rows it had.
        max_share: most that may be rejected, in [0, 1].
        path: where the quarantine was written.

    Raises:
        DataError: more than `max_share` were rejected, or all.
    """
    count = rejected.num_rows
    if count <= max_share * read and count < read:
        return
    limit = f"more than `ingest.max_reject_share` ({max_share:g}) allows" if count < read else "none is left"
    reason, times = count_reasons(rejected).most_common(1)[0]
    place = rejected.column("reason").index(reason).as_py()
    value, row, source = (rejected.column(name)[place].as_py() for name in ("value", "row", "source"))
    shown = "" if value is None else f" {value[:80]!r}"
    raise DataError(
        f"{table}: {count:,} of {read:,} rows are rejected, {limit}. "
        f"Most often: {reason} ({times:,} rows, such as{shown} in row {row} of {source}). All are in {path}. "
        f"Mend the data or its mapping in `ingest.{table}`."
    )


def count_reasons(rejected: pa.Table) -> Counter[str]:
    """How many rows were rejected for each reason."""
    counts = rejected.column("reason").value_counts().to_pylist()
    return Counter({entry["values"]: entry["counts"] for entry in counts})


def _table(table: str, file: RawFile, columns: list, count: int) -> pa.Table:
    arrays = [pa.array([table] * count, pa.string()), pa.array([file.source] * count, pa.string()), *columns]
    return pa.table(arrays, names=SCHEMA.names).cast(SCHEMA)

"""Raw data to the canonical tables."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.ingest.canonical import make_events, make_impressions
from components.ingest.config import IngestConfig, TableSource
from components.ingest.conversion import PLACE, Column, convert
from components.ingest.datasets import default_cache, fetch_dataset
from components.ingest.quarantine import check_share, count_reasons, rejected_rows
from components.ingest.sources import RawFile, read_files
from feature_repo.errors import ConfigError, DataError
from feature_repo.files import whole_file
from feature_repo.progress import report_progress

_SINCE_1970 = ("{} >= 0", "lies before 1970")
_INT32 = ("{} BETWEEN -2147483648 AND 2147483647", "is out of range")
_CANONICAL: dict[str, dict[str, Column]] = {
    "events": {
        "user_id": Column(required=True),
        "item_id": Column(required=True),
        "event_type": Column(required=True),
        "timestamp": Column("timestamp", required=True, valid=_SINCE_1970),
        "request_id": Column(),
        "position": Column("integer", valid=_INT32),
        "value": Column("number"),
    },
    "impressions": {
        "request_id": Column(),
        "user_id": Column(required=True),
        "item_id": Column(required=True),
        "timestamp": Column("timestamp", required=True, valid=_SINCE_1970),
        "position": Column("integer", valid=_INT32),
        "label": Column("integer", required=True, valid=("{} IN (0, 1)", "is neither 0 nor 1")),
        "propensity": Column("number", valid=("({0} > 0 AND {0} <= 1)", "is not in (0, 1]")),
    },
    "users": {"user_id": Column(required=True)},
    "items": {"item_id": Column(required=True)},
}
"""Columns whose meaning is fixed; all others are attributes, of the type that the mapping declares."""


@dataclass(frozen=True)
class TableReport:
    """What became of a raw table's rows."""

    read: int
    kept: int
    rejected: Mapping[str, int]


@dataclass(frozen=True)
class IngestReport:
    """What was ingested.

    Attributes:
        tables: by name; rows of `rejected` by reason.
        positives: impressions with label 1.
        impressions: all of them.
        unknown_user_events, unknown_item_events: events of ids that the users and items tables lack. They are kept.
        first, last: instants of the oldest and newest event.
    """

    tables: Mapping[str, TableReport]
    positives: int
    impressions: int
    unknown_user_events: int
    unknown_item_events: int
    first: datetime
    last: datetime

    def metrics(self) -> dict[str, float]:
        """Counts by name."""
        kept = {name: float(table.kept) for name, table in self.tables.items()}
        rejected = {f"rejected_{name}": float(sum(t.rejected.values())) for name, t in self.tables.items()}
        return {
            **kept,
            "impressions": float(self.impressions),
            "positives": float(self.positives),
            "unknown_user_events": float(self.unknown_user_events),
            "unknown_item_events": float(self.unknown_item_events),
            **rejected,
        }


@dataclass(frozen=True)
class IngestPaths:
    """Parquet files that ingestion writes."""

    events: Path | str
    impressions: Path | str
    users: Path | str
    items: Path | str
    quarantine: Path | str


def ingest(config: IngestConfig, data_root: str, paths: IngestPaths, now: datetime) -> IngestReport:
    """Reads the raw tables, checks every row and writes the canonical tables.

    Args:
        config: where the data lies and how it maps.
        data_root: folder or URI that relative URIs start from; "" for the config's own.
        paths: what to write. The quarantine is also written when the data is refused, the tables are not.
        now: the moment of ingestion; timestamps may lie `config.allow_future_seconds` after it.

    Raises:
        DataError: a table is missing, empty or unreadable, or too many of its rows are rejected.
        ConfigError: the mapping lacks a column that a canonical table needs.
    """
    root = data_root or config.root or str(fetch_dataset(str(config.dataset), default_cache(), report_progress))
    latest = round((now.timestamp() + config.allow_future_seconds) * 1e6)
    sources = {"events": config.events, "users": config.users, "items": config.items}
    if config.impressions:
        sources["impressions"] = config.impressions
    columns = {name: _columns(name, source, latest, config) for name, source in sources.items()}

    tables: dict[str, pa.Table] = {}
    rejected: dict[str, pa.Table] = {}
    read: dict[str, int] = {}
    for name, source in sources.items():
        files = read_files(name, source, root)
        read[name] = sum(file.table.num_rows + len(file.malformed) for file in files)
        tables[name], rejected[name] = _convert_all(name, source, columns[name], files)
    _write(pa.concat_tables(rejected.values()), paths.quarantine)
    for name in sources:
        check_share(name, rejected[name], read[name], config.max_reject_share, paths.quarantine)

    events = make_events(tables["events"], config.positive)
    impressions = make_impressions(tables.get("impressions"), events)
    for table, path in (
        (events, paths.events),
        (impressions, paths.impressions),
        (tables["users"], paths.users),
        (tables["items"], paths.items),
    ):
        _write(table, path)
    report = IngestReport(
        tables={
            name: TableReport(read[name], tables[name].num_rows, dict(count_reasons(rejected[name])))
            for name in sources
        },
        positives=pc.sum(impressions.column("label")).as_py() or 0,
        impressions=impressions.num_rows,
        unknown_user_events=_unknown(events, tables["users"], "user_id"),
        unknown_item_events=_unknown(events, tables["items"], "item_id"),
        first=events.column("timestamp")[0].as_py(),
        last=events.column("timestamp")[-1].as_py(),
    )
    _tell(report)
    return report


def _columns(name: str, source: TableSource, latest: int, config: IngestConfig) -> dict[str, Column]:
    """The columns of a canonical table, in order."""
    canonical = dict(_CANONICAL[name])
    mapped = {**source.columns, **source.constants}
    if name == "impressions" and "label" not in mapped:
        if "request_id" not in mapped or "request_id" not in config.events.columns:
            raise ConfigError(
                "`ingest.impressions.columns` must map `label`, or both it and `ingest.events.columns` must map "
                f"`request_id` to find the outcome by. Received: {', '.join(mapped)}."
            )
        del canonical["label"]
    for column, kind in canonical.items():
        if kind.required and column not in mapped:
            raise ConfigError(f"`ingest.{name}.columns` must map `{column}`. Received: {', '.join(mapped)}.")
        if kind.type == "timestamp":
            canonical[column] = dataclasses.replace(kind, at_most=latest)
    made = {"positive", "label", *PLACE} - set(canonical)
    for column in mapped:
        if column in made:
            raise ConfigError(f"`ingest.{name}.columns`: recloop makes `{column}` itself. Name the column otherwise.")
    attributes = {column: Column(mapping.type) for column, mapping in source.columns.items() if column not in canonical}
    constants = {column: Column() for column in source.constants if column not in canonical}
    return {**{c: kind for c, kind in canonical.items() if c in mapped}, **attributes, **constants}


def _convert_all(
    name: str, source: TableSource, columns: Mapping[str, Column], files: list[RawFile]
) -> tuple[pa.Table, pa.Table]:
    """All files of a table as one, without duplicates; and the rejected rows."""
    converted = [convert(name, source, columns, file, number) for number, file in enumerate(files)]
    table = pa.concat_tables([good for good, _ in converted])
    rejected = [bad for _, bad in converted]
    key = [f"{name[:-1]}_id"] if name in ("users", "items") else list(columns)
    noun = key[0] if name in ("users", "items") else name[:-1]
    repeated = _repeated(table, key)
    for number, file in enumerate(files):
        mask = pc.and_(repeated, pc.equal(table.column("_file"), number))
        again = table.filter(mask)
        reasons = pa.chunked_array([pa.array([f"duplicate {noun}"] * again.num_rows, pa.string())])
        values = again.column(key[0]) if len(key) == 1 else pa.chunked_array([pa.nulls(again.num_rows, pa.string())])
        rejected.append(rejected_rows(name, file, again.column("_place"), reasons, values))
    return table.filter(pc.invert(repeated)).drop(list(PLACE)), pa.concat_tables(rejected)


def _repeated(table: pa.Table, key: list[str]) -> pa.ChunkedArray:
    """[n] whether an earlier row has the same values in `key`."""
    listed = ", ".join('"' + column.replace('"', '""') + '"' for column in key)
    rows = table.append_column("_order", pa.array(range(table.num_rows), pa.int64()))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("canonical", rows)
        query = f"""
            SELECT row_number() OVER (PARTITION BY {listed} ORDER BY _order) > 1 AS repeated
            FROM canonical ORDER BY _order
        """
        return connection.execute(query).fetch_arrow_table().column("repeated")


def _unknown(events: pa.Table, entities: pa.Table, key: str) -> int:
    known = pc.is_in(events.column(key), entities.column(key).combine_chunks())
    return int(events.num_rows - pc.sum(known).as_py())


def _write(table: pa.Table, path: Path | str) -> None:
    try:
        with whole_file(path) as partial:
            pq.write_table(table, partial)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}). Free some space.") from error


def _tell(report: IngestReport) -> None:
    kept = ", ".join(f"{report.tables[name].kept:,} {name}" for name in ("events", "users", "items"))
    rejected = sum(sum(table.rejected.values()) for table in report.tables.values())
    share = report.positives / report.impressions
    set_aside = f"{rejected:,} row{'' if rejected == 1 else 's'} rejected"
    report_progress(f"{kept}; {share:.1%} of impressions positive; {set_aside}")

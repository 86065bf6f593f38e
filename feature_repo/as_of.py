"""Feature values as of an instant.

A feature table holds one row for every instant at which an entity's values change: `event_timestamp` is the
first instant at which the row holds, one microsecond after the last event it contains. So a row of the instant t
sees the events strictly before t and nothing later.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

_PLACE = "__place"


def join_as_of(rows: pa.Table, features: pa.Table | str, key: str, columns: Sequence[str]) -> pa.Table:
    """For each row the feature values that held at its timestamp.

    Args:
        rows: n rows with the columns `key` and `timestamp`.
        features: feature table with the columns `key`, `event_timestamp` and `columns`, or the path of its
            Parquet file.
        key: the entity's column.
        columns: feature columns wanted.

    Returns:
        n rows of `columns`, in the order of `rows`; nulls where the entity has no row that old.
    """
    if not isinstance(features, pa.Table):
        features = pq.read_table(features, columns=[key, "event_timestamp", *columns])
    return match_as_of(rows, features, {key: key}, ("timestamp", "event_timestamp"), {name: name for name in columns})


def match_as_of(
    rows: pa.Table,
    features: pa.Table,
    keys: Mapping[str, str],
    instants: tuple[str, str],
    columns: Mapping[str, str],
    created: str | None = None,
    oldest_microseconds: int | None = None,
) -> pa.Table:
    """For each row the latest feature row of its entity that is not after it; the one ASOF JOIN of the project.

    Args:
        rows: n rows.
        features: any number of feature rows of each entity.
        keys: columns of `rows` to those of `features`; empty where all rows share one entity.
        instants: the column of `rows` and that of `features` which say when. Without a time zone they are UTC.
        columns: names wanted to columns of `features`.
        created: column of `features` that decides between rows of one instant: the newest counts.
        oldest_microseconds: how much older than the row a feature row may be; any age when absent.

    Returns:
        n rows of `columns`, in the order of `rows`; nulls where nothing matches.
    """
    asked_at, known_at = (_quoted(name) for name in instants)
    matches = [f"asked.{_quoted(ours)} = known.{_quoted(theirs)}" for ours, theirs in keys.items()]
    matches.append(f"asked.{asked_at} >= known.{known_at}")
    # A row that is too old hides older ones: expired is unknown, not what was known before.
    fresh = f"known.{known_at} >= asked.{asked_at} - to_microseconds({oldest_microseconds})"
    condition = "TRUE" if oldest_microseconds is None else fresh
    chosen = [f"CASE WHEN {condition} THEN known.{_quoted(c)} END AS {_quoted(n)}" for n, c in columns.items()]
    source = "features"
    if created is not None:
        one_instant = ", ".join(_quoted(column) for column in (*keys.values(), instants[1]))
        newest = f"row_number() OVER (PARTITION BY {one_instant} ORDER BY {_quoted(created)} DESC NULLS LAST) = 1"
        source = f"(SELECT * FROM features QUALIFY {newest})"
    query = f"""
        SELECT {", ".join(chosen)} FROM asked
        ASOF LEFT JOIN {source} AS known ON {" AND ".join(matches)}
        ORDER BY asked.{_PLACE}
    """
    asked = rows.select([*keys, instants[0]]).append_column(_PLACE, pa.array(range(rows.num_rows), pa.int64()))
    return run_query(query, {"asked": asked, "features": features})


def run_query(query: str, tables: Mapping[str, pa.Table], parameters: Sequence[Any] = ()) -> pa.Table:
    """What an SQL query over Arrow tables gives; instants are UTC."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(query, list(parameters)).fetch_arrow_table()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

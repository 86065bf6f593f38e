"""Feature values as of an instant.

A feature table holds one row for every instant at which an entity's values change: `event_timestamp` is the
first instant at which the row holds, one microsecond after the last event it contains. So a row of the instant t
sees the events strictly before t and nothing later.
"""

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


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
    feature_table = features if isinstance(features, pa.Table) else pq.read_table(features)
    asked = pa.table(
        {"entity": rows.column(key), "at": rows.column("timestamp"), "place": pa.array(range(rows.num_rows))}
    )
    wanted = ", ".join(f'f."{column}"' for column in columns)
    query = f"""
        SELECT {wanted} FROM asked
        ASOF LEFT JOIN feature_table AS f ON asked.entity = f."{key}" AND asked."at" >= f.event_timestamp
        ORDER BY asked.place
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("asked", asked)
        connection.register("feature_table", feature_table)
        return connection.execute(query).fetch_arrow_table()

"""What follows from raw events and impressions: the positive rule, labels, request ids, the order of rows."""

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from components.ingest.config import PositiveRule
from feature_repo.errors import ConfigError
from feature_repo.tables import EVENTS, IMPRESSIONS


def make_events(rows: pa.Table, rule: PositiveRule) -> pa.Table:
    """Events as `feature_repo.tables.EVENTS`, ordered by time; context columns follow.

    Args:
        rows: n converted rows.
        rule: which of them are positive.

    Raises:
        ConfigError: the rule speaks of a column that is not mapped.
    """
    return _ordered(rows.append_column("positive", _positive(rows, rule)), EVENTS)


def make_impressions(shown: pa.Table | None, events: pa.Table) -> pa.Table:
    """Impressions as `feature_repo.tables.IMPRESSIONS`, ordered by time; context columns follow.

    Args:
        shown: n converted rows of what was shown; every event is one impression where that is not known.
        events: as `make_events` gives them. They decide the label where `shown` has none.
    """
    if shown is None:
        given = _request_ids(events).set_column(
            events.column_names.index("positive"), "label", pc.cast(events.column("positive"), pa.int8())
        )
        return _ordered(given.drop(["event_type", "value"]), IMPRESSIONS)
    if "label" not in shown.column_names:
        shown = shown.append_column("label", _outcomes(shown, events))
    if "request_id" not in shown.column_names:
        shown = shown.append_column("request_id", pa.nulls(shown.num_rows, pa.string()))
    return _ordered(_request_ids(shown), IMPRESSIONS)


def _positive(events: pa.Table, rule: PositiveRule) -> pa.Array:
    holds = pa.chunked_array([pa.array([True] * events.num_rows, pa.bool_())])
    if rule.event_types is not None:
        holds = pc.and_(holds, pc.is_in(events.column("event_type"), pa.array(rule.event_types, pa.string())))
    if rule.value_at_least is not None:
        if "value" not in events.column_names:
            raise ConfigError("`ingest.positive.value_at_least` needs `ingest.events.columns` to map `value`. Map it.")
        holds = pc.and_(holds, pc.fill_null(pc.greater_equal(events.column("value"), rule.value_at_least), False))
    return holds


def _outcomes(shown: pa.Table, events: pa.Table) -> pa.ChunkedArray:
    """[n] 1 where a positive event has the impression's request_id and item_id."""
    shown = shown.append_column("_order", pa.array(range(shown.num_rows), pa.int64()))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("shown", shown)
        connection.register("events", events)
        query = """
            SELECT CAST(EXISTS (
                SELECT 1 FROM events e WHERE e.positive AND e.request_id = s.request_id AND e.item_id = s.item_id
            ) AS TINYINT) AS label FROM shown s ORDER BY s._order
        """
        return connection.execute(query).fetch_arrow_table().column("label")


def _request_ids(rows: pa.Table) -> pa.Table:
    """`<user_id>-<item_id>-<microseconds>` where a row has no request_id."""
    instants = pc.cast(pc.cast(rows.column("timestamp"), pa.int64()), pa.string())
    made = pc.binary_join_element_wise(rows.column("user_id"), rows.column("item_id"), instants, "-")
    place = rows.column_names.index("request_id")
    return rows.set_column(place, "request_id", pc.coalesce(rows.column("request_id"), made))


def _ordered(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns as in `schema`, then the context columns; rows by time, then user and item."""
    extra = [field for field in table.schema if field.name not in schema.names]
    full = pa.schema([*schema, *extra])
    arrays = [
        pc.cast(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in full
    ]
    ordered = pa.table(arrays, schema=full)
    return ordered.sort_by([(column, "ascending") for column in ("timestamp", "user_id", "item_id")])

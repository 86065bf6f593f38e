"""Feature tables: every feature of every user and item, with the instants at which it changes.

Written in Ibis, so that the same expressions run on another engine where one machine is outgrown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from components.build_features.change_points import (
    AT,
    NAIVE,
    Total,
    Totals,
    change_points,
    last_column,
    newest_entries,
    totals_of,
)
from feature_repo.errors import DataError
from feature_repo.files import whole_file
from feature_repo.spec import ENTITY_KEYS, AggregateSource, ColumnSource, Feature, FeatureSpec

IBIS_TYPES = {
    "categorical": "string",
    "numeric": "float32",
    "timestamp": "int64",
    "sequence": "array<string>",
    "embedding": "array<float32>",
    "text": "string",
}
"""How a feature of each kind is stored; as `feature_repo.columns.ARROW_TYPES`."""


@dataclass(frozen=True)
class CanonicalPaths:
    """Parquet files of the canonical tables."""

    events: Path
    users: Path
    items: Path


@dataclass(frozen=True)
class TablePaths:
    """Parquet files of the feature tables."""

    user_features: Path
    item_features: Path
    user_filters: Path


def write_feature_tables(spec: FeatureSpec, canonical: CanonicalPaths, paths: TablePaths) -> dict[str, int]:
    """Makes the feature tables from the canonical ones.

    Args:
        spec: the feature spec.
        canonical: what to read.
        paths: what to write: `user_features` and `item_features` are histories of change points; `user_filters` has
            one row a user as of the end of the data. See docs/architecture.md.

    Returns:
        Rows by table.

    Raises:
        DataError: the spec takes a column that a table lacks or that does not fit the feature's kind.
    """
    connection = ibis.duckdb.connect()
    try:
        connection.raw_sql("SET TimeZone = 'UTC'")
        users = connection.read_parquet(canonical.users, "users")
        items = connection.read_parquet(canonical.items, "items")
        stored = connection.read_parquet(canonical.events, "stored_events")
        events = connection.create_table(
            "events",
            stored.select("user_id", "item_id", "positive", timestamp=stored["timestamp"].cast(NAIVE)),
            temp=True,
        )
        models = {side: spec.recorded(side) for side in ENTITY_KEYS}
        filters = tuple(feature for feature in spec.stored("user") if feature not in models["user"])
        last = ibis.coalesce(events["timestamp"].max(), ibis.literal("1970-01-01").cast(NAIVE))
        end = connection.execute(last + ibis.interval(microseconds=1))
        tables = {
            "user_features": _table("user", models["user"], users, events, items, None),
            "item_features": _table("item", models["item"], items, events, items, None),
            "user_filters": _table("user", filters, users, events, items, end),
        }
        rows = {}
        for name, table in tables.items():
            rows[name] = _write(connection, table, getattr(paths, name))
        return rows
    finally:
        connection.disconnect()


def _table(
    side: str, features: Sequence[Feature], attributes: ir.Table, events: ir.Table, items: ir.Table, end: Any
) -> ir.Table:
    """One feature table.

    Args:
        side: `user` or `item`.
        features: its columns.
        attributes: the table of the side's entities.
        events: with naive UTC timestamps.
        items: the items table.
        end: one row an entity as of this instant instead of its history; None for the history.
    """
    key, other = ENTITY_KEYS[side], ENTITY_KEYS["item" if side == "user" else "user"]
    _check_columns(side, features, attributes, items)
    entities = attributes.select(key)
    if side == "user":
        # A user is served from the first event on, an item once the catalogue has it.
        entities = ibis.union(entities, events.select(key), distinct=True)
    totals = Totals(features)
    points = change_points(entities, events, items, key, totals)
    if end is not None:
        past = points.filter(points[AT] <= ibis.literal(end).cast(NAIVE))
        newest = ibis.window(group_by=key, order_by=ibis.desc(AT))
        ranked = past.mutate(rank=ibis.row_number().over(newest))
        points = ranked.filter(ranked["rank"] == 0).mutate(**{AT: ibis.literal(end).cast(NAIVE)})

    lists: dict[str, ir.Table] = {}
    joined = points
    for feature in features:
        if isinstance(feature.source, AggregateSource) and feature.source.aggregate == "last":
            entries = newest_entries(events, key, other, feature.source.of, feature.length or 0, end is not None)
            lists[feature.name] = entries.select(
                **{
                    f"{feature.name}__key": entries[key],
                    f"{feature.name}__number": entries["number"],
                    f"{feature.name}__entries": entries["entries"],
                }
            )
            joined = joined.left_join(
                lists[feature.name],
                (joined[key] == lists[feature.name][f"{feature.name}__key"])
                & (joined[totals.column(Total(feature.source.of))] == lists[feature.name][f"{feature.name}__number"]),
            )
    columns = {f.name: f.source.column for f in features if isinstance(f.source, ColumnSource)}
    given = attributes.select(entity__key=key, **{f"{name}__column": column for name, column in columns.items()})
    joined = joined.left_join(given, joined[key] == given["entity__key"])
    stamp = joined[AT].cast("timestamp('UTC', 6)")
    values = {f.name: _value(f, joined, totals).cast(IBIS_TYPES[f.kind]) for f in features}
    return joined.select(joined[key], **{AT: stamp}, **values).order_by(key, AT)


def _value(feature: Feature, joined: ir.Table, totals: Totals) -> ir.Value:
    source = feature.source
    if not isinstance(source, AggregateSource):
        value = joined[f"{feature.name}__column"]
        return value.epoch_seconds() if value.type().is_timestamp() else value
    if source.aggregate == "last":
        return joined[f"{feature.name}__entries"]
    if source.aggregate == "last_timestamp":
        return joined[last_column(source.of)].epoch_seconds()
    sums = [joined[totals.column(total)] for total in totals_of(source)]
    if source.aggregate == "count":
        return sums[0]
    if source.aggregate == "rate":
        positives, events = (total.cast("float64") for total in sums)
        rate = (positives + source.prior_weight * source.prior_mean) / (events + source.prior_weight)
        return ibis.ifelse(events == 0, ibis.literal(source.prior_mean), rate)
    likes = joined[totals.column(Total("positive"))].cast("float64")
    shares = ibis.array([total / likes for total in sums])
    return ibis.ifelse(likes > 0, shares, ibis.null().cast(shares.type()))


def _check_columns(side: str, features: Sequence[Feature], attributes: ir.Table, items: ir.Table) -> None:
    for feature in features:
        source = feature.source
        if isinstance(source, ColumnSource):
            table, name, column = f"{side}s", attributes, source.column
            _check_present(feature, table, name, column)
            is_list = attributes[column].type().is_array()
            if is_list != (feature.kind in ("sequence", "embedding")):
                wanted = "a single value" if is_list else "a list"
                raise DataError(
                    f"feature `{feature.name}` is {wanted} by its kind, {feature.kind}, but column `{column}` of "
                    f"{table} is not. Received: {attributes[column].type()}. "
                    f"Mend `kind`, or the type of the column under `ingest.{table}`."
                )
        elif isinstance(source, AggregateSource) and source.by is not None:
            _check_present(feature, "items", items, source.by)


def _check_present(feature: Feature, table: str, columns: ir.Table, column: str) -> None:
    if column not in columns.columns:
        raise DataError(
            f"feature `{feature.name}` takes column `{column}`, which {table} do not have. Received: "
            f"{', '.join(columns.columns)}. Map it under `ingest.{table}.columns`, or remove the feature."
        )


def _write(connection: Any, table: ir.Table, path: Path) -> int:
    with whole_file(path) as partial:
        connection.to_parquet(table, partial)
    return int(connection.read_parquet(path).count().execute())

"""Makes the feature tables, the training rows and their statistics, and fills the online store."""

from dataclasses import dataclass
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.aggregates import feature_history, feature_state
from components.build_features.config import SplitConfig
from components.build_features.split import split_by_time
from components.validate.statistics import (
    generate_statistics,
    schema_from_features,
    write_schema,
    write_statistics,
)
from feature_repo.columns import ARROW_TYPES, context_columns
from feature_repo.errors import DataError
from feature_repo.progress import report_progress
from feature_repo.spec import ENTITY_KEYS, ColumnSource, Feature, FeatureSpec, history
from feature_repo.store import apply_repository, materialise, point_in_time_join
from feature_repo.tables import SPLITS, TIMESTAMP


@dataclass(frozen=True)
class FeaturePaths:
    """What the step reads and writes; `user_filters` lies beside the examples."""

    events: Path
    impressions: Path
    users: Path
    items: Path
    examples: Path
    user_features: Path
    item_features: Path
    training_statistics: Path
    training_schema: Path


def build_features(
    project: str, features: FeatureSpec, split: SplitConfig, repository: Path, paths: FeaturePaths
) -> dict[str, int]:
    """Writes feature tables, examples, statistics and schema; applies the Feast repository and fills its online store.

    Args:
        project: name of the Feast project.
        features: the feature spec.
        split: shares of train, validation and test.
        repository: folder of the Feast repository.
        paths: of inputs and outputs.

    Returns:
        Rows by what was written.

    Raises:
        DataError: an attribute that a feature takes is no column, or a window is empty.
    """
    tables = {name: pq.read_table(getattr(paths, name)) for name in ("events", "users", "items")}
    _check_attributes(features, tables)
    impressions = pq.read_table(paths.impressions)
    parts = split_by_time(impressions, split)

    paths.examples.mkdir(parents=True, exist_ok=True)
    filters = paths.examples / "user_filters.parquet"
    rows = _write_feature_tables(features, tables, paths, filters)
    store = apply_repository(
        repository, project, features, str(paths.user_features), str(paths.item_features), str(filters)
    )
    context = {name: impressions.column(name).type for name in impressions.column_names}
    for name, part in parts.items():
        report_progress(f"{name}: {part.num_rows:,} rows, joined as of their instants")
        joined = point_in_time_join(store, features, part)
        if joined.num_rows != part.num_rows:
            raise RuntimeError(f"the point-in-time join returned {joined.num_rows} rows for {part.num_rows}")
        example = _with_context(features, part, joined, context)
        pq.write_table(example, paths.examples / f"{name}.parquet")
        rows[name] = part.num_rows

    train = pq.read_table(paths.examples / f"{SPLITS[0]}.parquet")
    inputs = [f for side in ("user", "item", "context") for f in history(features.of(side))]
    statistics = generate_statistics(train.select([feature.name for feature in inputs]))
    write_statistics(statistics, paths.training_statistics)
    write_schema(schema_from_features(inputs, statistics), paths.training_schema)

    end = pc.max(tables["events"].column("timestamp")).as_py()
    for view, count in materialise(store, features, end).items():
        rows[f"online_{view}"] = count
    report_progress(f"online store: {rows['online_user_features']:,} users")
    return rows


def _check_attributes(features: FeatureSpec, tables: dict[str, pa.Table]) -> None:
    for side in ENTITY_KEYS:
        columns = tables[f"{side}s"].column_names
        for feature in features.of(side):
            source = feature.source
            if isinstance(source, ColumnSource) and source.column not in columns:
                raise DataError(
                    f"{side} feature {feature.name} takes column {source.column!r}, which the {side}s table lacks. "
                    f"It has {', '.join(columns)}. Map it under `ingest.{side}s.columns` or mend `features.{side}`."
                )
    for feature in features.user:
        by = getattr(feature.source, "by", None)
        if by and by not in tables["items"].column_names:
            raise DataError(
                f"user feature {feature.name} is a share by {by!r}, which the items table lacks. "
                f"It has {', '.join(tables['items'].column_names)}. Mend `features.user`."
            )


def _write_feature_tables(
    features: FeatureSpec, tables: dict[str, pa.Table], paths: FeaturePaths, filters: Path
) -> dict[str, int]:
    connection = ibis.duckdb.connect()
    loaded = {name: connection.create_table(name, _nullable(table)) for name, table in tables.items()}
    events, items = loaded["events"], loaded["items"]
    users_history = history(features.stored("user"))
    only_filters = tuple(f for f in features.stored("user") if f not in users_history)
    expressions = {
        "user_features": (feature_history("user", users_history, events, loaded["users"], items), paths.user_features),
        "item_features": (
            feature_history("item", history(features.stored("item")), events, items, items),
            paths.item_features,
        ),
        "user_filters": (feature_state("user", only_filters, events, loaded["users"], items), filters),
    }
    rows = {}
    for name, (expression, path) in expressions.items():
        table = connection.to_pyarrow(expression)
        instants = pc.cast(pc.cast(table.column("event_timestamp"), pa.int64()), TIMESTAMP)
        table = table.set_column(table.column_names.index("event_timestamp"), "event_timestamp", instants)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        rows[name] = table.num_rows
        report_progress(f"{name}: {table.num_rows:,} rows")
    return rows


def _with_context(
    features: FeatureSpec, impressions: pa.Table, joined: pa.Table, context: dict[str, pa.DataType]
) -> pa.Table:
    """request_id, user_id, item_id, timestamp, label, then the features."""
    example = impressions.select(["request_id", "user_id", "item_id", "timestamp", "label"])
    for side in ("user", "item"):
        for feature in history(features.of(side)):
            if feature.name != ENTITY_KEYS[side]:
                example = example.append_column(_field(feature), joined.column(feature.name).cast(_type(feature)))
    seconds = pc.cast(impressions.column("timestamp"), pa.int64()).to_numpy() // 1_000_000
    given = {name: impressions.column(name).combine_chunks() for name in context}
    for name, column in context_columns(features.context, seconds.astype(np.int64), given).items():
        example = example.append_column(name, column)
    return example


def _field(feature: Feature) -> pa.Field:
    return pa.field(feature.name, _type(feature))


def _type(feature: Feature) -> pa.DataType:
    return ARROW_TYPES[feature.kind]


def _nullable(table: pa.Table) -> pa.Table:
    """Ibis refuses to put a column that cannot be null under one that can."""
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))

"""The Feast repository that follows from the feature spec."""

import contextlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from feature_repo.spec import ENTITY_KEYS, Feature, FeatureSpec, history

if TYPE_CHECKING:
    from feast import FeatureStore

USER_FEATURES, ITEM_FEATURES, USER_FILTERS = "user_features", "item_features", "user_filters"
"""The feature views. `user_filters` holds what only filters: one row a user, without history."""


def views_of(spec: FeatureSpec) -> dict[str, tuple[str, tuple[Feature, ...]]]:
    """Side and features of every view that has any."""
    users, items = spec.stored("user"), spec.stored("item")
    models = history(users)
    views = {
        USER_FEATURES: ("user", models),
        ITEM_FEATURES: ("item", history(items)),
        USER_FILTERS: ("user", tuple(feature for feature in users if feature not in models)),
    }
    return {name: (side, features) for name, (side, features) in views.items() if features}


def apply_repository(
    path: Path, project: str, spec: FeatureSpec, user_features: str, item_features: str, user_filters: str
) -> "FeatureStore":
    """Writes `feature_store.yaml` and registers entities and views over the given Parquet files.

    Args:
        path: folder of the repository; made where it is missing.
        project: name of the Feast project.
        spec: the feature spec.
        user_features, item_features, user_filters: paths or URIs of the feature tables.
    """
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType

    path.mkdir(parents=True, exist_ok=True)
    settings = {
        "project": project,
        "provider": "local",
        "registry": "registry.db",
        "offline_store": {"type": "feature_repo.offline_store.AsofOfflineStore"},
        "online_store": {"type": "sqlite", "path": "online_store.db"},
        "entity_key_serialization_version": 2,
    }
    (path / "feature_store.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    entities = {
        side: Entity(name=side, join_keys=[key], value_type=ValueType.STRING) for side, key in ENTITY_KEYS.items()
    }
    tables = {USER_FEATURES: user_features, ITEM_FEATURES: item_features, USER_FILTERS: user_filters}
    views = [
        FeatureView(
            name=name,
            entities=[entities[side]],
            # Values hold until the next row, however old.
            ttl=timedelta(0),
            schema=[Field(name=feature.name, dtype=_feast_type(feature)) for feature in features],
            source=FileSource(name=f"{name}_source", path=tables[name], timestamp_field="event_timestamp"),
        )
        for name, (side, features) in views_of(spec).items()
    ]
    store = FeatureStore(repo_path=str(path))
    store.apply([*entities.values(), *views])
    return store


def point_in_time_join(store: "FeatureStore", spec: FeatureSpec, rows: pa.Table) -> pa.Table:
    """The models' user and item features as of each row's timestamp, through Feast.

    Args:
        store: an applied repository.
        spec: the feature spec it was made from.
        rows: n rows with user_id, item_id and timestamp.

    Returns:
        n rows in the same order: user_id, item_id, timestamp and the features; nulls where nothing is known.
    """
    asked = rows.select(["user_id", "item_id", "timestamp"]).rename_columns(["user_id", "item_id", "event_timestamp"])
    names = [f"{view}:{feature.name}" for view in (USER_FEATURES, ITEM_FEATURES) for feature in views_of(spec)[view][1]]
    joined = store.get_historical_features(asked.to_pandas(), names).to_arrow()
    return joined.rename_columns(["timestamp" if name == "event_timestamp" else name for name in joined.column_names])


def materialise(store: "FeatureStore", spec: FeatureSpec, end: datetime) -> dict[str, int]:
    """Writes the latest values of all entities to the online store.

    Args:
        store: an applied repository.
        spec: the feature spec it was made from.
        end: instant of the last event; values that hold from just after it are included.

    Returns:
        Rows written by view.
    """
    from feast import FileSource

    # Feast shows a progress bar a view, whether or not there is a terminal.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        store.materialize(datetime(1970, 1, 1, tzinfo=UTC), end.astimezone(UTC) + timedelta(microseconds=1))
    written = {}
    for view in store.list_feature_views():
        source, side = view.batch_source, views_of(spec)[view.name][0]
        if isinstance(source, FileSource):
            written[view.name] = len(pc.unique(pq.read_table(source.path, columns=[ENTITY_KEYS[side]]).column(0)))
    return written


def _feast_type(feature: Feature) -> Any:
    from feast.types import Array, Float32, Int64, String

    return {
        "categorical": String,
        "text": String,
        "numeric": Float32,
        "timestamp": Int64,
        "sequence": Array(String),
        "embedding": Array(Float32),
    }[feature.kind]

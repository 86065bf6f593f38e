"""The Feast repository that follows from the feature spec."""

import contextlib
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from feature_repo.files import write_file
from feature_repo.spec import ENTITY_KEYS, Feature, FeatureSpec

if TYPE_CHECKING:
    from feast import FeatureStore

USER_FEATURES, ITEM_FEATURES, USER_FILTERS = "user_features", "item_features", "user_filters"
"""The feature views. `user_filters` holds what only filters: one row a user, without history."""

SETTINGS, REGISTRY, ONLINE_STORE = "feature_store.yaml", "registry.db", "online_store.db"
"""Files of a repository."""


def views_of(spec: FeatureSpec) -> dict[str, tuple[str, tuple[Feature, ...]]]:
    """Side and features of every view that has any."""
    users, models = spec.stored("user"), spec.recorded("user")
    views = {
        USER_FEATURES: ("user", models),
        ITEM_FEATURES: ("item", spec.recorded("item")),
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
        "registry": REGISTRY,
        "offline_store": {"type": "feature_repo.offline_store.AsofOfflineStore"},
        "online_store": {"type": "sqlite", "path": ONLINE_STORE},
        "entity_key_serialization_version": 3,
    }
    write_file(yaml.safe_dump(settings, sort_keys=False).encode(), path / SETTINGS)
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
            source=FileSource(name=f"{name}_source", path=_located(tables[name]), timestamp_field="event_timestamp"),
        )
        for name, (side, features) in views_of(spec).items()
    ]
    store = FeatureStore(repo_path=str(path))
    store.apply([*entities.values(), *views])
    with contextlib.closing(sqlite3.connect(path / ONLINE_STORE)) as connection:
        # A gateway that reads never waits for materialisation; SQLite remembers this in the file.
        connection.execute("PRAGMA journal_mode=WAL")
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
    views = views_of(spec)
    models = [view for view in (USER_FEATURES, ITEM_FEATURES) if view in views]
    names = [f"{view}:{feature.name}" for view in models for feature in views[view][1]]
    joined = store.get_historical_features(asked.to_pandas(), names).to_arrow()
    return joined.rename_columns(["timestamp" if name == "event_timestamp" else name for name in joined.column_names])


def materialise(store: "FeatureStore", spec: FeatureSpec, end: datetime) -> dict[str, int]:
    """Writes the latest values of all entities to the online store.

    Args:
        store: an applied repository.
        spec: the feature spec it was made from.
        end: of the data, as `feature_repo.tables.data_window` has it: values that hold by then are written.

    Returns:
        Rows written by view.
    """
    from feast import FileSource

    views = views_of(spec)
    # Feast shows a progress bar a view, whether or not there is a terminal.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        # Feast keeps views that an older spec had: only this spec's are filled.
        store.materialize(datetime(1970, 1, 1, tzinfo=UTC), end.astimezone(UTC), list(views))
    written = {}
    for name, (side, _) in views.items():
        source = store.get_feature_view(name).batch_source
        if isinstance(source, FileSource):
            written[name] = len(pc.unique(pq.read_table(source.path, columns=[ENTITY_KEYS[side]]).column(0)))
    return written


def _located(path: str) -> str:
    """Feast takes relative paths as relative to the repository, not to where the command runs."""
    return path if "://" in path else str(Path(path).absolute())


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

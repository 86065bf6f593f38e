"""The point-in-time join of training rows: our Feast offline store beside Feast's own file store."""

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

from feature_repo.tables import TIMESTAMP
from tests.benchmarks.comparison import compare

ROWS = 200_000
ENTITIES = 10_000
SPAN_MICROSECONDS = 100 * 86_400_000_000


def run() -> None:
    """Joins as many rows as there are feature rows, every entity known."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "features.parquet"
        # Feast's dask store drops rows without a match, so every entity is known from the epoch on.
        ids = np.concatenate([np.arange(ENTITIES), random.integers(ENTITIES, size=ROWS - ENTITIES)])
        at = np.concatenate([np.zeros(ENTITIES, np.int64), random.integers(1, SPAN_MICROSECONDS, size=ROWS - ENTITIES)])
        values = {f"x{i}": random.random(ROWS, np.float32) for i in range(5)}
        pq.write_table(
            pa.table({"user_id": ids.astype(str), "event_timestamp": pa.array(at).cast(TIMESTAMP), **values}), table
        )
        rows = pd.DataFrame(
            {
                "user_id": random.integers(ENTITIES, size=ROWS).astype(str),
                "event_timestamp": pd.to_datetime(
                    random.integers(1, SPAN_MICROSECONDS, size=ROWS), unit="us", utc=True
                ),
            }
        )
        names = [f"features:{name}" for name in values]
        ours = _store(Path(folder) / "ours", table, list(values), "feature_repo.offline_store.AsofOfflineStore")
        dask = _store(Path(folder) / "dask", table, list(values), "dask")
        compare(
            f"Point-in-time join of {ROWS:,} rows with {ROWS:,} feature rows",
            ("ASOF offline store", lambda: ours.get_historical_features(rows, names).to_arrow()),
            ("Feast's dask offline store", lambda: dask.get_historical_features(rows, names).to_arrow()),
            runs=3,
        )


def _store(folder: Path, table: Path, names: list[str], offline: str) -> FeatureStore:
    folder.mkdir()
    settings = {
        "project": "benchmark",
        "provider": "local",
        "registry": "registry.db",
        "offline_store": {"type": offline},
        "online_store": {"type": "sqlite", "path": "online.db"},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="features",
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float32) for name in names],
        source=FileSource(name="source", path=str(table), timestamp_field="event_timestamp"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([user, view])
    return store

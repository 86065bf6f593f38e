"""The product's own tables for a problem: feature histories and training rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.aggregates import CanonicalPaths, TablePaths, write_feature_tables
from components.evaluate.moments import Moments
from feature_repo.as_of import join_as_of
from feature_repo.columns import ARROW_TYPES, context_columns
from feature_repo.files import whole_file
from feature_repo.spec import FeatureSpec
from feature_repo.tables import EVENTS, TIMESTAMP
from tests.benchmarks.quality.problem import Log, Phase

EPOCH = pa.scalar(0, pa.int64()).cast(TIMESTAMP)


@dataclass(frozen=True)
class Ids:
    """What the codes of a problem stand for: sorted ids."""

    users: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class FeatureTables:
    """Feature histories made of some interactions.

    Attributes:
        user_features, item_features: Parquet files.
        latest_item_features: the same layout with each item's last values, as if they had always held.
    """

    user_features: Path
    item_features: Path
    latest_item_features: Path


def make_feature_tables(spec: FeatureSpec, log: Log, ids: Ids, canonical: Path, folder: Path) -> FeatureTables:
    """Writes the feature tables of a log; those that are there already are kept.

    Args:
        spec: the feature spec.
        log: what features may be made of.
        ids: of the codes.
        canonical: folder with the tables of users and items.
        folder: to write into; it must be another one for another log or spec.
    """
    names = ("user_features", "item_features", "latest_item_features")
    tables = FeatureTables(*(folder / f"{name}.parquet" for name in names))
    if tables.latest_item_features.exists():
        return tables
    folder.mkdir(parents=True, exist_ok=True)
    size = len(log)
    columns: Mapping[str, pa.Array] = {
        "user_id": pa.array(ids.users[log.users], pa.string()),
        "item_id": pa.array(ids.items[log.items], pa.string()),
        "event_type": pa.array(["rating"] * size, pa.string()),
        "timestamp": pa.array(log.times, pa.int64()).cast(TIMESTAMP),
        "positive": pa.array(log.positives, pa.bool_()),
    }
    arrays = [columns.get(field.name, pa.nulls(size, field.type)) for field in EVENTS]
    _write(pa.Table.from_arrays(arrays, schema=EVENTS), folder / "events.parquet")
    write_feature_tables(
        spec,
        CanonicalPaths(folder / "events.parquet", canonical / "users.parquet", canonical / "items.parquet"),
        TablePaths(tables.user_features, tables.item_features, folder / "user_filters.parquet"),
    )
    _write(_latest(pq.read_table(tables.item_features), int(log.times.max()) + 1), tables.latest_item_features)
    return tables


def make_rows(
    spec: FeatureSpec, users: np.ndarray, items: np.ndarray, times: np.ndarray, labels: np.ndarray, ids: Ids,
    user_features: Path, item_features: Path,
) -> pa.Table:  # fmt: skip
    """Training rows as the DAG's `build_features` lays them out, each with its features as of its instant."""
    rows = pa.table(
        {
            "request_id": pa.array([str(place) for place in range(len(users))], pa.string()),
            "user_id": pa.array(ids.users[users], pa.string()),
            "item_id": pa.array(ids.items[items], pa.string()),
            "timestamp": pa.array(times, pa.int64()).cast(TIMESTAMP),
            "label": pa.array(labels, pa.int8()),
        }
    )
    joined = rows
    for side, path in (("user", user_features), ("item", item_features)):
        names = [feature.name for feature in spec.recorded(side)]
        values = join_as_of(rows, str(path), f"{side}_id", names)
        for name in names:
            wanted = ARROW_TYPES[spec.get(name).kind]
            joined = joined.append_column(pa.field(name, wanted), values.column(name).cast(wanted))
    for name, column in context_columns(spec.context, times // 1_000_000).items():
        joined = joined.append_column(name, column)
    return joined


def write_examples(folder: Path, parts: Mapping[str, pa.Table]) -> Path:
    """Writes an examples folder: a Parquet file a split, ordered by time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        _write(rows.sort_by("timestamp"), folder / f"{name}.parquet")
    return folder


def make_moments(spec: FeatureSpec, phase: Phase, ids: Ids, user_features: Path, item_features: Path) -> Moments:
    """The phase's moments as the product's evaluation takes them, ordered as they are in the phase.

    What is asked for at a moment are its impressions.
    """
    count = len(phase.users)
    anything = np.zeros(count, np.int64)
    rows = make_rows(spec, phase.users, anything, phase.times, anything, ids, user_features, item_features)
    order = np.argsort(phase.pair_moments, kind="stable")
    bounds = np.searchsorted(phase.pair_moments[order], np.arange(count + 1))
    shown = [phase.pair_items[order[bounds[m] : bounds[m + 1]]] for m in range(count)]
    seen = [np.unique(part) for part in np.split(phase.history_items, phase.history_starts[1:-1])]
    liked = phase.visible.positives[phase.history_rows]
    return Moments(
        rows=rows,
        users=ids.users[phase.users],
        timestamps=phase.times,
        seen=seen,
        past_positives=np.bincount(phase.history_moments, liked, minlength=count).astype(np.int64),
        impressions=shown,
        labels=[np.ones(len(items), np.int8) for items in shown],
    )


def _latest(table: pa.Table, end: int) -> pa.Table:
    """One row an item: its values as of an instant, dated to the epoch so that they hold at any instant."""
    names = [name for name in table.column_names if name not in ("item_id", "event_timestamp")]
    ids = pc.unique(table.column("item_id"))
    rows = pa.table({"item_id": ids, "timestamp": pa.array([end] * len(ids), pa.int64()).cast(TIMESTAMP)})
    values = join_as_of(rows, table, "item_id", names)
    epoch = pa.array([0] * len(ids), pa.int64()).cast(TIMESTAMP)
    columns = {"item_id": ids, "event_timestamp": epoch, **{name: values.column(name) for name in names}}
    return pa.table(columns).select(table.column_names).cast(table.schema)


def _write(table: pa.Table, path: Path) -> None:
    with whole_file(path) as partial:
        pq.write_table(table, partial)

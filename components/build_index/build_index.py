"""Embeds the whole catalogue, indexes it and writes the item table that goes with the index."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.as_of import join_as_of
from feature_repo.columns import Arrays, to_arrays
from feature_repo.errors import ConfigError, DataError
from feature_repo.item_vectors import read_item_vectors
from feature_repo.progress import report_progress
from feature_repo.spec import AggregateSource, Feature, FeatureSpec, history
from feature_repo.tables import TIMESTAMP, data_window
from serving.config import ServingConfig
from serving.index import build_index as build
from serving.item_table import DATA_BEGIN, DATA_END, ITEM_ID, write_item_table

BATCH_SIZE = 4096


@dataclass(frozen=True)
class IndexPaths:
    """What the step reads and writes."""

    item_tower: Path
    items: Path
    events: Path
    item_features: Path
    item_vectors: Path
    index: Path
    item_table: Path


def build_index(features: FeatureSpec, config: ServingConfig, paths: IndexPaths) -> dict[str, float]:
    """Writes the index and the item table of every item, with features as of the end of the data.

    Args:
        features: the feature spec.
        config: section `serving`.
        paths: of inputs and outputs.

    Returns:
        Metrics: number of items, dimension, leaves of the partitioning tree (0 where every item is scored).

    Raises:
        ConfigError: the config names an item column or feature that does not exist.
        DataError: there is no item, or one has no features or no finite embedding.
    """
    items = pq.read_table(paths.items)
    if not items.num_rows:
        raise DataError("the items table is empty: there is nothing to recommend. Check `ingest.items`.")
    titles = _titles(items, config.gateway.titles)
    _check_share(features, config.rerank.max_share_by)

    begin, end = data_window(pq.read_table(paths.events, columns=["timestamp"]))
    table = _state(items.column(ITEM_ID), pq.read_table(paths.item_features), features, end)
    stored = read_item_vectors(paths.item_vectors, items.column(ITEM_ID).combine_chunks(), features.vectors())
    for name in stored.column_names:
        table = table.append_column(name, stored.column(name))

    vectors = _embed(paths.item_tower, to_arrays(features.inputs("item", "retrieval"), table))
    index = build(vectors, config.index)
    index.save(paths.index)
    window = {DATA_BEGIN: begin.isoformat(), DATA_END: end.isoformat()}
    write_item_table(paths.item_table, features, table, _popularity(features, table), titles, window)
    report_progress(f"{index.size:,} items in {index.dimension} dimensions, {_kind(index.kind, index.leaves)}")
    return {"items": index.size, "dimension": index.dimension, "leaves": index.leaves}


def _state(item_ids: pa.ChunkedArray, recorded: pa.Table, features: FeatureSpec, end: datetime) -> pa.Table:
    """`item_id` and every recorded feature as of `end`, one row an item in the order of the items table."""
    at = pa.array([end] * len(item_ids), TIMESTAMP)
    asked = pa.table({ITEM_ID: item_ids, "timestamp": at})
    stored = join_as_of(asked, recorded, ITEM_ID, [f.name for f in features.recorded("item")] + [ITEM_ID])
    unknown = pc.filter(item_ids, pc.is_null(stored.column(ITEM_ID)))
    if len(unknown):
        raise DataError(
            f"{len(unknown)} items have no features, such as {unknown[0].as_py()!r}: the items and item_features "
            "tables are not of the same run. Run the pipeline from its beginning."
        )
    return stored


def _embed(item_tower: Path, arrays: Arrays) -> np.ndarray:
    """[n, D] embeddings of the catalogue."""
    from trainer.scoring import ExportedModel

    tower = ExportedModel(item_tower)
    size = len(next(iter(arrays.values())))
    vectors = np.concatenate(
        [
            tower({name: array[start : start + BATCH_SIZE] for name, array in arrays.items()})["embedding"]
            for start in range(0, size, BATCH_SIZE)
        ]
    )
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors)).any(axis=1).sum())
        raise DataError(f"the item tower gives {bad} of {size} items no finite embedding: training has diverged.")
    return vectors


def _popularity(features: FeatureSpec, table: pa.Table) -> np.ndarray:
    """[n] positive events of all time where a feature counts them; zeros, which keep the catalogue's order, else."""
    counts = [feature.name for feature in history(features.stored("item")) if _counts_positives(feature)]
    if not counts:
        return np.zeros(table.num_rows)
    return pc.fill_null(table.column(counts[0]), 0.0).to_numpy().astype(np.float64)


def _counts_positives(feature: Feature) -> bool:
    source = feature.source
    return (
        isinstance(source, AggregateSource)
        and source.aggregate == "count"
        and source.of == "positive"
        and source.window_days is None
    )


def _titles(items: pa.Table, column: str | None) -> pa.Array | None:
    if column is None:
        return None
    if column not in items.column_names:
        raise ConfigError(
            f"`serving.gateway.titles` must be a column of the items table ({', '.join(items.column_names)}). "
            f"Received: {column!r}."
        )
    return pc.cast(items.column(column), pa.string()).combine_chunks()


def _check_share(features: FeatureSpec, name: str | None) -> None:
    stored = history(features.stored("item"))
    allowed = [feature.name for feature in stored if feature.kind in ("categorical", "sequence")]
    if name is not None and name not in allowed:
        raise ConfigError(
            f"`serving.rerank.max_share_by` must be a categorical or sequence feature of items ({', '.join(allowed)}). "
            f"Received: {name!r}."
        )


def _kind(kind: str, leaves: int) -> str:
    return f"{kind} with a tree of {leaves} leaves" if leaves else f"{kind}, every item scored"

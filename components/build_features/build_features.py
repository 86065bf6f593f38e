"""Makes the feature tables, the training rows and their statistics, and fills the online store."""

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.aggregates import CanonicalPaths, TablePaths, write_feature_tables
from components.build_features.config import SplitConfig
from components.build_features.item_vectors import write_item_vectors
from components.build_features.split import split_by_time
from components.validate.statistics import (
    generate_statistics,
    schema_from_features,
    write_schema,
    write_statistics,
)
from feature_repo.columns import ARROW_TYPES, context_columns
from feature_repo.files import whole_file
from feature_repo.item_vectors import ITEM_VECTORS
from feature_repo.progress import report_progress
from feature_repo.spec import ENTITY_KEYS, FeatureSpec, history
from feature_repo.store import apply_repository, materialise, point_in_time_join
from feature_repo.tables import SPLITS, data_window

if TYPE_CHECKING:
    from feast import FeatureStore

TEXT_VECTORS = "text_vectors"
"""Folder of the feature store with the vectors of texts that were encoded before."""

PART_ROWS = 65_536
"""Rows of a row group of the examples: training reads one at a time."""


@dataclass(frozen=True)
class FeaturePaths:
    """What the step reads and writes; `user_filters` and the item vectors lie beside the examples."""

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
    project: str,
    features: FeatureSpec,
    split: SplitConfig,
    repository: Path,
    paths: FeaturePaths,
    executor: Executor | None = None,
) -> dict[str, int]:
    """Writes feature tables, examples, statistics and schema; applies the Feast repository and fills its online store.

    Args:
        project: name of the Feast project.
        features: the feature spec.
        split: shares of train, validation and test.
        repository: folder of the Feast repository; vectors of texts are kept below it.
        paths: of inputs and outputs.
        executor: where statistics are computed while the online store is filled, and shut down then; a thread when
            absent.

    Returns:
        Rows by what was written.

    Raises:
        DataError: an attribute that a feature takes is no column, or a window is empty.
    """
    parts = split_by_time(pq.read_table(paths.impressions), split)
    # The encoder runs outside Python's lock, on the core that the steps below leave idle.
    with ThreadPoolExecutor(1) as encoding:
        vectors = encoding.submit(
            write_item_vectors, features, paths.items, paths.examples / ITEM_VECTORS, repository / TEXT_VECTORS
        )
        rows = _build(project, features, parts, repository, paths, executor or ThreadPoolExecutor(1))
        rows["encoded_texts"] = vectors.result()
    return rows


def _build(
    project: str,
    features: FeatureSpec,
    parts: Mapping[str, pa.Table],
    repository: Path,
    paths: FeaturePaths,
    executor: Executor,
) -> dict[str, int]:
    """Everything but the vectors of items; returns rows by what was written."""
    filters = paths.examples / "user_filters.parquet"
    rows = write_feature_tables(
        features,
        CanonicalPaths(paths.events, paths.users, paths.items),
        TablePaths(paths.user_features, paths.item_features, filters),
    )
    report_progress(f"features at {rows['user_features']:,} instants of users, {rows['item_features']:,} of items")
    store = apply_repository(
        repository, project, features, str(paths.user_features), str(paths.item_features), str(filters)
    )
    examples = _join(features, store, pa.concat_tables(parts.values()))
    start = 0
    for name, part in parts.items():
        with whole_file(paths.examples / f"{name}.parquet") as partial:
            pq.write_table(examples.slice(start, part.num_rows), partial, row_group_size=PART_ROWS)
        start += part.num_rows
        rows[name] = part.num_rows
    report_progress(", ".join(f"{rows[name]:,} {name}" for name in SPLITS) + " rows, each as of its instant")

    with executor as apart:
        describing = apart.submit(describe_examples, features, paths)
        _, end = data_window(pq.read_table(paths.events, columns=["timestamp"]))
        for view, count in materialise(store, features, end).items():
            rows[f"online_{view}"] = count
        describing.result()
    report_progress(f"online store: {rows.get('online_user_features', 0):,} users")
    return rows


def describe_examples(features: FeatureSpec, paths: FeaturePaths) -> None:
    """Writes the statistics of the training rows' features, and the schema that follows from them."""
    vectors = features.vectors()
    inputs = [f for side in ("user", "item", "context") for f in history(features.of(side)) if f not in vectors]
    names = [feature.name for feature in inputs]
    statistics = generate_statistics(pq.read_table(paths.examples / f"{SPLITS[0]}.parquet", columns=names))
    write_statistics(statistics, paths.training_statistics)
    write_schema(schema_from_features(inputs, statistics), paths.training_schema)


def _join(features: FeatureSpec, store: "FeatureStore", impressions: pa.Table) -> pa.Table:
    """request_id, user_id, item_id, timestamp, label, then the features as of each row's timestamp."""
    joined = point_in_time_join(store, features, impressions)
    if joined.num_rows != impressions.num_rows:
        raise RuntimeError(f"the point-in-time join returned {joined.num_rows} rows for {impressions.num_rows}")
    example = impressions.select(["request_id", "user_id", "item_id", "timestamp", "label"])
    for side in ENTITY_KEYS:
        for feature in features.recorded(side):
            arrow_type = ARROW_TYPES[feature.kind]
            values = joined.column(feature.name).cast(arrow_type)
            example = example.append_column(pa.field(feature.name, arrow_type), values)
    seconds = pc.cast(impressions.column("timestamp"), pa.int64()).to_numpy() // 1_000_000
    given = {name: impressions.column(name).combine_chunks() for name in impressions.column_names}
    for name, column in context_columns(features.context, seconds, given).items():
        example = example.append_column(name, column)
    return example

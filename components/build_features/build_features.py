"""Makes the feature tables, the training rows and their statistics, and fills the online store."""

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.aggregates import CanonicalPaths, TablePaths, write_feature_tables
from components.build_features.config import LeakageConfig, SplitConfig
from components.build_features.leakage import check_leakage
from components.build_features.split import split_by_time
from components.validate.statistics import (
    generate_statistics,
    schema_from_features,
    write_schema,
    write_statistics,
)
from feature_repo.columns import ARROW_TYPES, context_columns
from feature_repo.files import whole_file
from feature_repo.progress import report_progress
from feature_repo.spec import ENTITY_KEYS, FeatureSpec, history
from feature_repo.store import apply_repository, materialise, point_in_time_join
from feature_repo.tables import SPLITS, data_window

if TYPE_CHECKING:
    from feast import FeatureStore

LOGGED = ("request_id", "user_id", "item_id", "timestamp", "label", "position", "propensity")
"""Columns of an example that are no features."""

PART_ROWS = 65_536
"""Rows of a row group of the examples: training reads one at a time."""


@dataclass(frozen=True)
class FeaturePaths:
    """What the step reads and writes; `user_filters` and `leakage.json` lie beside the examples."""

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
    leakage: LeakageConfig,
    repository: Path,
    paths: FeaturePaths,
    executor: Executor | None = None,
) -> dict[str, int]:
    """Writes feature tables, examples, statistics and schema; applies the Feast repository and fills its online store.

    Args:
        project: name of the Feast project.
        features: the feature spec.
        split: shares of train, validation and test.
        leakage: when a feature is taken to know the label.
        repository: folder of the Feast repository.
        paths: of inputs and outputs.
        executor: where statistics are computed while the online store is filled, and shut down then; a thread when
            absent.

    Returns:
        Rows by what was written.

    Raises:
        DataError: an attribute that a feature takes is no column, a window is empty, or a feature knows the label.
    """
    impressions = pq.read_table(paths.impressions)
    parts = split_by_time(impressions, split)

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
    windows: dict[str, pa.Table] = {}
    start = 0
    for name, part in parts.items():
        windows[name] = examples.slice(start, part.num_rows)
        with whole_file(paths.examples / f"{name}.parquet") as partial:
            pq.write_table(windows[name], partial, row_group_size=PART_ROWS)
        start += part.num_rows
        rows[name] = part.num_rows
    report_progress(", ".join(f"{rows[name]:,} {name}" for name in SPLITS) + " rows, each as of its instant")
    check_leakage(features, windows["train"], windows["validation"], leakage, paths.examples / "leakage.json")

    with executor or ThreadPoolExecutor(1) as apart:
        describing = apart.submit(describe_examples, features, paths)
        _, end = data_window(pq.read_table(paths.events, columns=["timestamp"]))
        for view, count in materialise(store, features, end).items():
            rows[f"online_{view}"] = count
        describing.result()
    report_progress(f"online store: {rows.get('online_user_features', 0):,} users")
    return rows


def describe_examples(features: FeatureSpec, paths: FeaturePaths) -> None:
    """Writes the statistics of the training rows' features, and the schema that follows from them."""
    inputs = [feature for side in ("user", "item", "context") for feature in history(features.of(side))]
    names = [feature.name for feature in inputs]
    statistics = generate_statistics(pq.read_table(paths.examples / f"{SPLITS[0]}.parquet", columns=names))
    write_statistics(statistics, paths.training_statistics)
    write_schema(schema_from_features(inputs, statistics), paths.training_schema)


def _join(features: FeatureSpec, store: "FeatureStore", impressions: pa.Table) -> pa.Table:
    """What was logged of each impression, then the features as of its timestamp."""
    joined = point_in_time_join(store, features, impressions)
    if joined.num_rows != impressions.num_rows:
        raise RuntimeError(f"the point-in-time join returned {joined.num_rows} rows for {impressions.num_rows}")
    example = impressions.select([*LOGGED])
    for side in ENTITY_KEYS:
        for feature in history(features.stored(side)):
            arrow_type = ARROW_TYPES[feature.kind]
            values = joined.column(feature.name).cast(arrow_type)
            example = example.append_column(pa.field(feature.name, arrow_type), values)
    seconds = pc.cast(impressions.column("timestamp"), pa.int64()).to_numpy() // 1_000_000
    given = {name: impressions.column(name).combine_chunks() for name in impressions.column_names}
    for name, column in context_columns(features.context, seconds, given).items():
        example = example.append_column(name, column)
    return example

"""The data set as the product's ingestion reads it, and the problems that are made of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.split import split_by_time as split_impressions
from components.ingest.datasets import default_cache, fetch_dataset
from components.ingest.ingest import IngestPaths, ingest
from feature_repo.progress import report_progress
from feature_repo.tables import SPLITS
from pipelines.config import ProjectConfig
from tests.benchmarks.quality.problem import Log, Problem
from tests.benchmarks.quality.protocols import (
    last_one,
    last_tenth,
    sample_queries,
    split_by_time,
    split_by_user,
)

PROTOCOLS = ("time", "leave_last_one_out", "user_last_tenth")
VALIDATION_QUERIES = 2000
TIE_SEED = 20


@dataclass(frozen=True)
class DataSet:
    """The canonical tables, and the interactions as codes.

    Attributes:
        tables: folder of the canonical tables.
        log: all interactions with items of the catalogue. Within an instant their order is drawn at random: nobody
            knows it.
        user_ids, item_ids: what the codes stand for, sorted.
        users, items: the tables, a row a code.
    """

    tables: Path
    log: Log
    user_ids: np.ndarray
    item_ids: np.ndarray
    users: pa.Table
    items: pa.Table


def read_data(config: ProjectConfig, folder: Path) -> DataSet:
    """Ingests the project's data set into a folder, as the DAG does."""
    if config.ingest.dataset is None:
        raise ValueError("`ingest.dataset` must name a data set. Received: None.")
    root = str(fetch_dataset(config.ingest.dataset, default_cache(), report_progress))
    names = ("events", "impressions", "users", "items", "quarantine")
    paths = {name: folder / f"{name}.parquet" for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    ingest(config.ingest, root, IngestPaths(**paths), datetime.now(UTC))
    items = pq.read_table(paths["items"]).sort_by("item_id")
    users = pq.read_table(paths["users"]).sort_by("user_id")
    events = pq.read_table(paths["events"])
    events = events.filter(pc.is_in(events.column("item_id"), items.column("item_id").combine_chunks()))
    times = pc.cast(events.column("timestamp"), pa.int64()).to_numpy()
    order = np.lexsort((np.random.default_rng(TIE_SEED).permutation(len(times)), times))
    log = Log(
        users=_codes(events.column("user_id"), users.column("user_id"))[order],
        items=_codes(events.column("item_id"), items.column("item_id"))[order],
        times=times[order],
        positives=events.column("positive").to_numpy()[order],
    )
    user_ids, item_ids = (table.column(f"{side}_id").to_numpy() for side, table in (("user", users), ("item", items)))
    return DataSet(folder, log, user_ids, item_ids, users, items)


def make_problem(protocol: str, data: DataSet, config: ProjectConfig) -> Problem:
    """The rounds of a protocol; validation is at most `VALIDATION_QUERIES` queries, the same for everyone."""
    if protocol == "time":
        parts = split_impressions(pq.read_table(data.tables / "impressions.parquet"), config.split)
        begins = [pc.min(pc.cast(parts[name].column("timestamp"), pa.int64())).as_py() for name in SPLITS[1:]]
        validation, test = split_by_time(data.log, *begins)
    else:
        validation, test = split_by_user(data.log, {PROTOCOLS[1]: last_one, PROTOCOLS[2]: last_tenth}[protocol])
    return Problem(
        validation=sample_queries(validation, VALIDATION_QUERIES, seed=1),
        test=test,
        item_attributes=_item_attributes(data.items),
        user_attributes=_user_attributes(data.users),
    )


def _codes(values: pa.ChunkedArray, ids: pa.ChunkedArray) -> np.ndarray:
    return pc.index_in(values, ids.combine_chunks()).to_numpy().astype(np.int64)


def _item_attributes(items: pa.Table) -> np.ndarray:
    """Genres, and the decade of release."""
    genres = items.column("genres").to_pylist()
    names = sorted({genre for row in genres for genre in row or ()})
    decades = [None if year is None else int(year) // 10 for year in items.column("release_year").to_pylist()]
    known = sorted({decade for decade in decades if decade is not None})
    rows = [
        [name in (row or ()) for name in names] + [decade == one for one in known]
        for row, decade in zip(genres, decades, strict=True)
    ]
    return np.array(rows, np.float32)


def _user_attributes(users: pa.Table) -> np.ndarray:
    """Gender, occupation, and the decade of life."""
    columns = [users.column("gender").to_pylist(), users.column("occupation").to_pylist()]
    columns.append([None if age is None else int(age) // 10 for age in users.column("age").to_pylist()])
    parts = []
    for values in columns:
        known = sorted({value for value in values if value is not None})
        parts.append(np.array([[value == one for one in known] for value in values], np.float32))
    return np.concatenate(parts, axis=1)

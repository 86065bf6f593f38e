"""Training rows as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.columns import Arrays, to_arrays
from feature_repo.errors import DataError
from feature_repo.spec import Feature


@dataclass(frozen=True)
class Examples:
    """Impressions with the features that held at their instants.

    Attributes:
        table: n rows, ordered by time.
        user_ids, item_ids: [n] strings.
        instants: [n] int64 unix microseconds.
        labels: [n] int8; 1 for a positive outcome.
    """

    table: pa.Table
    user_ids: np.ndarray
    item_ids: np.ndarray
    instants: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def seconds(self) -> np.ndarray:
        """[n] int64 unix seconds: the `timestamp` input of the models."""
        return self.instants // 1_000_000

    def arrays(self, features: Iterable[Feature]) -> Arrays:
        """Model inputs of every row."""
        return to_arrays(features, self.table)

    def take(self, rows: np.ndarray) -> "Examples":
        """The examples at the given places (indices or a mask)."""
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        return from_table(self.table.take(pa.array(places)))


def from_table(table: pa.Table) -> Examples:
    """Examples from a table with the layout of `examples/*.parquet`."""
    return Examples(
        table=table,
        user_ids=string_array(table.column("user_id")),
        item_ids=string_array(table.column("item_id")),
        instants=microseconds(table.column("timestamp")),
        labels=table.column("label").to_numpy().astype(np.int8),
    )


def read_examples(folder: str | Path, split: str) -> Examples:
    """Examples of one split, ordered by time.

    Args:
        folder: with `train.parquet`, `validation.parquet` and `test.parquet`.
        split: which of them.

    Raises:
        DataError: if there is no positive row, from which nothing can be learned or measured.
    """
    path = Path(folder) / f"{split}.parquet"
    examples = from_table(pq.read_table(path).sort_by("timestamp"))
    if not examples.labels.any():
        raise DataError(
            f"the {split} split has no positive row. Received {len(examples)} rows: "
            "check the rule for positives (ingest.positive) and the shares in `split`"
        )
    return examples


def string_array(column: pa.ChunkedArray) -> np.ndarray:
    """[n] object array of str."""
    return column.to_numpy().astype(object)


def microseconds(column: pa.ChunkedArray) -> np.ndarray:
    """[n] int64 unix microseconds of a timestamp column."""
    return pc.cast(pc.cast(column, pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy()

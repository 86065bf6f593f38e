"""Training rows as arrays."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.columns import Arrays, to_arrays
from feature_repo.errors import DataError
from feature_repo.spec import Feature

KEYS = ("user_id", "item_id", "timestamp", "label")
"""Columns of every row beside its features."""


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
        return from_table(self.table.take(pa.array(places, pa.int64())))


class ExampleFile:
    """One split on disk, read a part (a row group of the file) at a time, so that memory does not grow with its rows.

    Args:
        path: a Parquet file with the layout of `examples/*.parquet`, ordered by time.
        features: those that are read; the keys of a row always are.
    """

    def __init__(self, path: str | Path, features: Iterable[Feature] = ()) -> None:
        self.path = Path(path)
        with pq.ParquetFile(self.path) as file:
            self.rows: int = file.metadata.num_rows
            self.parts: int = file.metadata.num_row_groups
        self._columns = [*KEYS, *dict.fromkeys(f.name for f in features if f.name not in KEYS)]

    def __len__(self) -> int:
        return self.rows

    def with_features(self, features: Iterable[Feature]) -> "ExampleFile":
        """The same rows with other features read."""
        return ExampleFile(self.path, features)

    def count_positives(self) -> int:
        """Rows with a positive outcome."""
        return sum(int((part.labels > 0).sum()) for part in self.with_features(()).each())

    def part(self, number: int) -> Examples:
        """The rows of one part, in the order of time."""
        with pq.ParquetFile(self.path) as file:
            return from_table(file.read_row_group(number, columns=self._columns))

    def each(self) -> Iterator[Examples]:
        """All parts, one after another."""
        for number in range(self.parts):
            yield self.part(number)

    def sample(self, most: int, seed: int, wanted: Callable[[Examples], np.ndarray] | None = None) -> Examples:
        """At most so many of the rows, each as likely as the other, in the order of time.

        Args:
            most: rows to keep; all of them where there are no more.
            seed: of the draw.
            wanted: which rows may be drawn, [n] bool, from their keys alone; all where absent.
        """
        keys = self.with_features(())
        places = [np.flatnonzero(wanted(part)) if wanted is not None else np.arange(len(part)) for part in keys.each()]
        counts = np.array([len(found) for found in places], np.int64)
        total = int(counts.sum())
        drawn = np.arange(total)
        if total > most:
            drawn = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
        owners = np.repeat(np.arange(self.parts), counts)[drawn]
        chosen = np.concatenate([np.empty(0, np.int64), *places])[drawn]
        tables = [self.part(number).take(chosen[owners == number]).table for number in np.unique(owners)]
        return from_table(pa.concat_tables(tables) if tables else self._empty())

    def _empty(self) -> pa.Table:
        return pq.read_schema(self.path).empty_table().select(self._columns)


def from_table(table: pa.Table) -> Examples:
    """Examples from a table with the layout of `examples/*.parquet`."""
    return Examples(
        table=table,
        user_ids=string_array(table.column("user_id")),
        item_ids=string_array(table.column("item_id")),
        instants=microseconds(table.column("timestamp")),
        labels=table.column("label").to_numpy().astype(np.int8),
    )


def open_examples(folder: str | Path, split: str) -> ExampleFile:
    """The rows of one split.

    Args:
        folder: with `train.parquet`, `validation.parquet` and `test.parquet`.
        split: which of them.

    Raises:
        DataError: if there is no positive row, from which nothing can be learned or measured, or the rows are not
            ordered by time, on which batches rely.
    """
    file = ExampleFile(Path(folder) / f"{split}.parquet")
    last = np.iinfo(np.int64).min
    for part in file.each():
        if len(part) and (part.instants[0] < last or (np.diff(part.instants) < 0).any()):
            raise DataError(
                f"the {split} split must be ordered by time. Received: {file.path.name} that is not; sort it"
            )
        last = int(part.instants[-1]) if len(part) else last
    if not file.count_positives():
        raise DataError(
            f"the {split} split has no positive row. Received {len(file)} rows: "
            "check the rule for positives (ingest.positive) and the shares in `split`"
        )
    return file


def string_array(column: pa.ChunkedArray) -> np.ndarray:
    """[n] object array of str."""
    return column.to_numpy().astype(object)


def microseconds(column: pa.ChunkedArray) -> np.ndarray:
    """[n] int64 unix microseconds of a timestamp column."""
    return pc.cast(pc.cast(column, pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy()

"""Sorted data on disk that is read through memory maps: what grows with the number of rows and is looked up at random.

DuckDB sorts within a bounded memory and spills the rest; the sorted columns are written as they come and mapped, so
the operating system keeps what is in use and may drop the rest.
"""

import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

SORT_MEMORY = "128MB"
SORT_THREADS = 2
"""Each needs a share of the memory, so no more take part on a large machine."""
BATCH_ROWS = 65_536


class DiskArrays:
    """A folder of arrays that goes with the object."""

    def __init__(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="recloop-")
        self.folder = Path(folder.name)
        weakref.finalize(self, folder.cleanup)

    def write(self, batches: Iterator[pa.RecordBatch], dtypes: Mapping[str, type]) -> dict[str, np.ndarray]:
        """Columns of a stream of batches as arrays of the given types, mapped read-only."""
        paths = {name: self.folder / f"{name}.bin" for name in dtypes}
        files = {name: path.open("wb") for name, path in paths.items()}
        try:
            for batch in batches:
                for name, file in files.items():
                    values = batch.column(batch.schema.get_field_index(name)).to_numpy(zero_copy_only=False)
                    values.astype(dtypes[name], copy=False).tofile(file)
        finally:
            for file in files.values():
                file.close()
        return {name: _mapped(paths[name], dtype) for name, dtype in dtypes.items()}


def connect(tables: Mapping[str, pa.Table], spill: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB that keeps to `SORT_MEMORY`; what a query returns whole must fit in it.

    Args:
        tables: Arrow tables by the name under which queries find them.
        spill: folder for what does not fit.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET memory_limit = '{SORT_MEMORY}'")
    connection.execute(f"SET threads = {SORT_THREADS}")
    connection.execute("SET temp_directory = ?", [str(spill / "spill")])
    # Of equal keys, no order is promised and none is needed; keeping it would cost the memory that is saved.
    connection.execute("SET preserve_insertion_order = false")
    for name, table in tables.items():
        connection.register(name, table)
    return connection


def stream(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query, a batch at a time."""
    yield from connection.execute(query).fetch_record_batch(BATCH_ROWS)


def search_within(values: np.ndarray, starts: np.ndarray, ends: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Binary search in many stretches of one array at once.

    Args:
        values: [v], ascending within each stretch.
        starts, ends: [n] the stretches, `values[start:end]`.
        wanted: [n] what is looked for, one in each stretch.

    Returns:
        [n] int64: the first place in the stretch whose value is not below `wanted`; its end where there is none.
    """
    low, high = starts.astype(np.int64), ends.astype(np.int64)
    open_ = low < high
    while open_.any():
        middle = (low + high) // 2
        below = values[np.where(open_, middle, 0)] < wanted
        low = np.where(open_ & below, middle + 1, low)
        high = np.where(open_ & ~below, middle, high)
        open_ = low < high
    return low


def _mapped(path: Path, dtype: type) -> np.ndarray:
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")

"""Features of entities as of any instant, from a feature table that may be larger than memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainer.disk_arrays import DiskArrays, connect, search_within, stream


class FeatureHistory:
    """The rows of a feature table, ordered by entity and time, on disk.

    Args:
        source: the feature table, or the path of its Parquet file.
        key: the entity's column.
        entity_ids: [m] the entities, in the order of their codes.
        columns: feature columns wanted.
    """

    def __init__(self, source: pa.Table | str | Path, key: str, entity_ids: np.ndarray, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._arrays = DiskArrays()
        entities = pa.table({key: pa.array(entity_ids, pa.string()), "entity_code": pa.array(range(len(entity_ids)))})
        tables, features = source_of(source)
        names = "".join(f', "{name}"' for name in self.columns)
        query = f"""
            SELECT entity_code, epoch_us(event_timestamp) AS entity_instant{names}
            FROM {features} JOIN entities USING ("{key}") ORDER BY entity_code, entity_instant
        """
        self._offsets, counts = [0], np.zeros(len(entity_ids), np.int64)
        path = self._arrays.folder / "history.arrow"
        instants = (self._arrays.folder / "instants.bin").open("wb")
        writer = None
        with connect({"entities": entities, **tables}, self._arrays.folder) as connection, instants:
            for batch in stream(connection, query):
                counts += np.bincount(batch.column(0).to_numpy(), minlength=len(counts))
                batch.column(1).to_numpy().tofile(instants)
                kept = pa.RecordBatch.from_arrays(batch.columns[2:], names=list(self.columns))
                writer = writer or pa.ipc.new_file(str(path), kept.schema)
                writer.write_batch(kept)
                self._offsets.append(self._offsets[-1] + batch.num_rows)
        if writer is not None:
            writer.close()
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._file = None if writer is None else pa.ipc.open_file(pa.memory_map(str(path)))
        size = self._offsets[-1]
        self._instants = np.memmap(instants.name, np.int64, "r") if size else np.empty(0, np.int64)

    def at(self, codes: np.ndarray, instants: np.ndarray) -> pa.Table:
        """The values that held.

        Args:
            codes: [n] entities.
            instants: [n] int64 unix microseconds.

        Returns:
            n rows of the columns; nulls where the entity has no row that old.
        """
        rows = search_within(self._instants, self._starts[codes], self._starts[codes + 1], instants + 1) - 1
        absent = rows < self._starts[codes]
        needed, places = np.unique(np.where(absent, -1, rows), return_inverse=True)
        known = needed[needed >= 0]
        if self._file is None:
            raise ValueError("the feature table is empty: no entity has features")
        batches = np.searchsorted(self._offsets, known, side="right") - 1
        parts = [
            self._file.get_batch(int(batch)).take(pa.array(known[batches == batch] - self._offsets[batch]))
            for batch in np.unique(batches)
        ]
        table = pa.Table.from_batches(parts, self._file.schema)
        shift = len(needed) - len(known)
        return table.take(pa.array(places - shift, pa.int64(), mask=absent))


def source_of(source: pa.Table | str | Path) -> tuple[dict[str, pa.Table], str]:
    """Arrow tables to register, and how a query names the source."""
    if isinstance(source, pa.Table):
        return {"given": source}, "given"
    return {}, "read_parquet('" + str(source).replace("'", "''") + "')"

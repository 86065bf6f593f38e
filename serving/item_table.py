"""The catalogue in memory: row i is row i of the index."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.columns import ARROW_TYPES, Arrays, to_arrays
from feature_repo.errors import ReleaseError
from feature_repo.files import whole_file
from feature_repo.spec import FeatureSpec, history

ITEM_ID = "item_id"
TITLE = "@title"
"""Column with what people read. No feature can be named so."""
POPULARITY = "@popularity"
"""Column with what a degraded answer is ordered by: larger is better. No feature can be named so."""

DATA_BEGIN, DATA_END = "data_begin", "data_end"
"""Metadata of the table: instants (ISO 8601, UTC) of the first and the last change of the features it comes from."""

_REMEDY = "Run the step build_index again, or serve another release."


@dataclass(frozen=True)
class ItemTable:
    """Everything that a request needs to know about items.

    Attributes:
        ids: item id of every row.
        rows: row of every item id.
        titles: of every row; None where the project names no title column.
        ranking_inputs: what the ranker takes of items, [n] or [n, length]; strings are bytes already.
        popular: rows from the most to the least popular.
        popularity: of every row, divided by the largest; in [0, 1].
        values: of the attribute that re-ranking limits, by row; None where it limits none.
    """

    ids: list[str]
    rows: dict[str, int]
    titles: list[str | None] | None
    ranking_inputs: Arrays
    popular: np.ndarray
    popularity: np.ndarray
    values: list[tuple[str, ...]] | None

    def rows_of(self, item_ids: list[str]) -> list[int]:
        """Rows of those of the items that are in the catalogue, in their order."""
        return [self.rows[item_id] for item_id in item_ids if item_id in self.rows]


def load_item_table(path: Path, spec: FeatureSpec, max_share_by: str | None) -> ItemTable:
    """Reads an item table and prepares its arrays once, so that a request only picks rows.

    Raises:
        ReleaseError: when the table cannot be read or lacks a column.
    """
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise ReleaseError(f"{path} is no Arrow file ({' '.join(str(error).split())}). {_REMEDY}") from error
    inputs = spec.inputs("item", "ranking")
    wanted = [ITEM_ID, POPULARITY, *(feature.name for feature in inputs), *([max_share_by] if max_share_by else [])]
    for column in wanted:
        if column not in table.column_names:
            raise ReleaseError(f"{path} has no column {column!r}. {_REMEDY}")
    ids = table.column(ITEM_ID).to_pylist()
    rows = {item_id: row for row, item_id in enumerate(ids)}
    if len(rows) != len(ids):
        raise ReleaseError(f"{path} holds an item twice. {_REMEDY}")
    counts = np.nan_to_num(table.column(POPULARITY).to_numpy().astype(np.float64))
    return ItemTable(
        ids=ids,
        rows=rows,
        titles=table.column(TITLE).to_pylist() if TITLE in table.column_names else None,
        ranking_inputs={name: _encoded(array) for name, array in to_arrays(inputs, table).items()},
        popular=np.argsort(-counts, kind="stable"),
        popularity=counts / max(counts.max(initial=0.0), 1e-12),
        values=_values(table.column(max_share_by)) if max_share_by else None,
    )


def data_window(path: Path) -> dict[str, str]:
    """When the data begins and ends that a table comes from, as `write_item_table` was told."""
    with pa.memory_map(str(path)) as source:
        metadata = pa.ipc.open_file(source).schema.metadata or {}
    return {key: metadata[key.encode()].decode() for key in (DATA_BEGIN, DATA_END) if key.encode() in metadata}


def write_item_table(
    path: Path,
    spec: FeatureSpec,
    features: pa.Table,
    popularity: np.ndarray,
    titles: pa.Array | None,
    window: Mapping[str, str] | None = None,
) -> None:
    """Writes an item table.

    Args:
        path: of the Arrow IPC file.
        spec: whose item features are stored: those that a model takes.
        features: `item_id` and every stored item feature, one row an item, in the order of the index.
        popularity: [n], larger is better.
        titles: [n] strings, or None.
        window: `DATA_BEGIN` and `DATA_END` of the data that the features come from.
    """
    columns: dict[str, pa.Array] = {ITEM_ID: features.column(ITEM_ID)}
    for feature in history(spec.stored("item")):
        columns[feature.name] = features.column(feature.name).cast(ARROW_TYPES[feature.kind])
    columns[POPULARITY] = pa.array(np.asarray(popularity, np.float64))
    if titles is not None:
        columns[TITLE] = titles
    table = pa.table(columns).combine_chunks().replace_schema_metadata(dict(window or {}))
    with (
        whole_file(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def _encoded(array: np.ndarray) -> np.ndarray:
    """Strings as UTF-8 bytes, once instead of in every request."""
    if array.dtype != object:
        return array
    flat = np.empty(array.size, object)
    flat[:] = [entry.encode() for entry in array.ravel().tolist()]
    return flat.reshape(array.shape)


def _values(column: pa.ChunkedArray) -> list[tuple[str, ...]]:
    return [
        () if value is None else tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        for value in column.to_pylist()
    ]

"""The items and their features as of any instant."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.as_of import join_as_of
from feature_repo.columns import Arrays, to_arrays
from feature_repo.spec import ENTITY_KEYS, AggregateSource, Feature

KEY = ENTITY_KEYS["item"]


class Catalogue:
    """Every item of the item features, each with a code: its place in the order of ids.

    Attributes of an item (columns of the items table) hold at all times and are read once; aggregates of its events
    are read as of an instant.

    Args:
        features: item inputs wanted, the key among them or not.
        item_features: the feature table of items, or the path of its Parquet file.
    """

    def __init__(self, features: Iterable[Feature], item_features: pa.Table | str | Path) -> None:
        self.features = tuple(features)
        self.aggregates = tuple(f for f in self.features if _changes(f))
        self.attributes = tuple(f for f in self.features if not _changes(f))
        wanted = [KEY, "event_timestamp", *(f.name for f in self.features if f.name != KEY)]
        self._table = (
            item_features.select(wanted)
            if isinstance(item_features, pa.Table)
            else pq.read_table(item_features, columns=wanted)
        )
        ids = pc.unique(self._table.column(KEY)).to_numpy(zero_copy_only=False).astype(object)
        self.item_ids: np.ndarray = np.sort(ids)
        last = self._join(self.item_ids, np.full(len(ids), np.iinfo(np.int64).max // 2), self.attributes)
        self.attribute_arrays: Arrays = to_arrays(self.attributes, last)

    def __len__(self) -> int:
        return len(self.item_ids)

    def codes(self, item_ids: np.ndarray) -> np.ndarray:
        """[n] int64 codes of ids; -1 for an item that the catalogue lacks."""
        if not len(self.item_ids):
            return np.full(len(item_ids), -1, np.int64)
        places = np.minimum(np.searchsorted(self.item_ids, item_ids), len(self.item_ids) - 1)
        return np.where(self.item_ids[places] == item_ids, places, -1)

    def aggregates_at(self, codes: np.ndarray, instants: np.ndarray) -> Arrays:
        """Aggregates of items, each as of an instant of its own.

        Args:
            codes: [n] items.
            instants: [n] int64 unix microseconds.

        Returns:
            By feature [n] or [n, length], missing values filled.
        """
        return to_arrays(self.aggregates, self._join(self.item_ids[codes], instants, self.aggregates))

    def snapshots(self, instants: np.ndarray) -> list[Arrays]:
        """All items' features as of each instant.

        Args:
            instants: [s] int64 unix microseconds.

        Returns:
            For each instant the model inputs [m] or [m, length] of all m items, in the order of codes.
        """
        size = len(self)
        together = self.aggregates_at(np.tile(np.arange(size), len(instants)), np.repeat(instants, size))
        return [
            self.attribute_arrays
            | {name: values[place * size : (place + 1) * size] for name, values in together.items()}
            for place in range(len(instants))
        ]

    def _join(self, item_ids: np.ndarray, instants: np.ndarray, features: tuple[Feature, ...]) -> pa.Table:
        columns = [f.name for f in features if f.name != KEY]
        rows = pa.table(
            {
                KEY: pa.array(item_ids, pa.string()),
                "timestamp": pa.array(instants, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            }
        )
        joined = join_as_of(rows, self._table, KEY, columns) if columns else pa.table({KEY: rows.column(KEY)})
        return joined if KEY in joined.column_names else joined.append_column(KEY, rows.column(KEY))


def _changes(feature: Feature) -> bool:
    """Whether the value, or what a model makes of it, differs from instant to instant."""
    return isinstance(feature.source, AggregateSource) or feature.kind == "timestamp"

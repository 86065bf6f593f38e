"""The items and their features as of any instant."""

from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.columns import Arrays, to_arrays
from feature_repo.item_vectors import read_item_vectors
from feature_repo.spec import ENTITY_KEYS, AggregateSource, Feature
from trainer.examples import Examples
from trainer.feature_history import FeatureHistory, source_of

KEY = ENTITY_KEYS["item"]


class Catalogue:
    """Every item of the item features, each with a code: its place in the order of ids.

    Attributes of an item (columns of the items table) hold at all times and are held in memory, once an item;
    aggregates of its events, and instants, are read from disk as of an instant.

    Args:
        features: item inputs wanted, the key among them or not.
        item_features: the feature table of items, or the path of its Parquet file.
        item_vectors: the file with the embeddings that items come with; needed where a feature is one.
    """

    def __init__(
        self,
        features: Iterable[Feature],
        item_features: pa.Table | str | Path,
        item_vectors: str | Path | None = None,
    ) -> None:
        self.features = tuple(features)
        self.dynamic = tuple(f for f in self.features if is_dynamic(f))
        self.attributes = tuple(f for f in self.features if not is_dynamic(f))
        vectors = tuple(f for f in self.attributes if f.kind == "embedding")
        scalars = tuple(f for f in self.attributes if f not in vectors)
        tables, source = source_of(item_features)
        held = "".join(f', first("{f.name}") AS "{f.name}"' for f in scalars if f.name != KEY)
        # Attributes are held in memory anyhow, so nothing is spilled here.
        with duckdb.connect() as connection:
            for name, table in tables.items():
                connection.register(name, table)
            query = f'SELECT "{KEY}"{held} FROM {source} GROUP BY "{KEY}" ORDER BY "{KEY}"'
            items = connection.execute(query).fetch_arrow_table()
        self.item_ids: np.ndarray = items.column(KEY).to_numpy().astype(object)
        self.attribute_arrays: Arrays = to_arrays(scalars, items)
        ids = items.column(KEY).combine_chunks()
        self.attribute_arrays |= to_arrays(vectors, read_item_vectors(item_vectors, ids, vectors))
        self._history = FeatureHistory(item_features, KEY, self.item_ids, [f.name for f in self.dynamic])

    def __len__(self) -> int:
        return len(self.item_ids)

    def codes(self, item_ids: np.ndarray) -> np.ndarray:
        """[n] int64 codes of ids; -1 for an item that the catalogue lacks."""
        if not len(self.item_ids):
            return np.full(len(item_ids), -1, np.int64)
        places = np.minimum(np.searchsorted(self.item_ids, item_ids), len(self.item_ids) - 1)
        return np.where(self.item_ids[places] == item_ids, places, -1)

    def dynamic_among(self, features: Iterable[Feature]) -> tuple[Feature, ...]:
        """Those of the features that are dynamic."""
        return tuple(feature for feature in features if feature in self.dynamic)

    def dynamic_at(self, codes: np.ndarray, instants: np.ndarray) -> Arrays:
        """Dynamic features of items, each as of an instant of its own.

        Args:
            codes: [n] items.
            instants: [n] int64 unix microseconds.

        Returns:
            By feature [n] or [n, length], missing values filled.
        """
        if not self.dynamic:
            return {}
        return to_arrays(self.dynamic, self._history.at(codes, instants))

    def features_of(self, rows: Examples, features: Iterable[Feature]) -> Arrays:
        """Item features of training rows: attributes of their items, dynamic features as of the rows.

        Args:
            rows: n rows with the dynamic ones of the features, all of items of the catalogue.
            features: those wanted.

        Returns:
            By feature [n] or [n, length].
        """
        wanted = tuple(features)
        codes = self.codes(rows.item_ids)
        held = {f.name: self.attribute_arrays[f.name][codes] for f in wanted if f in self.attributes}
        return held | rows.arrays(f for f in wanted if f in self.dynamic)

    def snapshots(self, instants: np.ndarray) -> list[Arrays]:
        """All items' features as of each instant.

        Args:
            instants: [s] int64 unix microseconds.

        Returns:
            For each instant the model inputs [m] or [m, length] of all m items, in the order of codes.
        """
        every = np.arange(len(self))
        return [self.attribute_arrays | self.dynamic_at(every, np.full(len(self), instant)) for instant in instants]


def is_dynamic(feature: Feature) -> bool:
    """Whether an item feature's value, or what a model makes of it, differs from instant to instant."""
    return isinstance(feature.source, AggregateSource) or feature.kind == "timestamp"

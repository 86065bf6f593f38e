"""Embeddings that items come with, kept once an item beside the training rows."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.columns import ARROW_TYPES
from feature_repo.spec import ENTITY_KEYS, Feature

ITEM_VECTORS = "item_vectors.parquet"
"""File in the folder of the examples: one row an item, with `item_id` and the features of `FeatureSpec.vectors`."""

KEY = ENTITY_KEYS["item"]


def read_item_vectors(path: str | Path | None, item_ids: pa.Array, features: Iterable[Feature]) -> pa.Table:
    """Vectors of items as stored.

    Args:
        path: of the Parquet file; needed where a feature is wanted.
        item_ids: [m] strings.
        features: those wanted, each of `FeatureSpec.vectors`.

    Returns:
        m rows in the order of `item_ids`, a column a feature; null for an item that has none.
    """
    names = [feature.name for feature in features]
    if not names:
        return pa.table({KEY: item_ids}).select([])
    if path is None:
        raise ValueError(f"`path` must be given for {names[0]}. Received: None.")
    stored = pq.read_table(path, columns=[KEY, *names])
    places = pc.index_in(item_ids, value_set=stored.column(KEY).combine_chunks())
    return pa.table({name: stored.column(name).cast(ARROW_TYPES["embedding"]).take(places) for name in names})

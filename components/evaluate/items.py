"""What the items of the catalogue are: by which they are told apart and grouped."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.evaluate.slices import check_feature
from feature_repo.as_of import join_as_of
from feature_repo.spec import FeatureSpec
from feature_repo.tables import TIMESTAMP


def item_members(
    features: FeatureSpec, item_features: pa.Table, catalogue: pa.Array, name: str
) -> tuple[list[str], np.ndarray]:
    """The values of a categorical or sequence feature [g], and which of them each item has, [items, g] 0 or 1.

    Raises:
        ConfigError: when there is no such feature.
    """
    feature = check_feature(features.item, name, ("categorical", "sequence"), item_features.column_names)
    values = _values(item_features, catalogue, name)
    if feature.kind == "categorical":
        rows, entries = np.arange(len(catalogue)), values
    else:
        rows, entries = pc.list_parent_indices(values).to_numpy(), values.flatten()
    ids = entries.fill_null("(missing)").to_numpy(zero_copy_only=False).astype(str)
    names, places = np.unique(ids, return_inverse=True)
    members = np.zeros((len(catalogue), len(names)))
    members[rows, places] = 1
    return names.tolist(), members


def item_vectors(
    features: FeatureSpec, item_features: pa.Table, catalogue: pa.Array, name: str
) -> tuple[np.ndarray, str]:
    """What items are told apart by, [items, d], and the distance that fits it: `jaccard` or `cosine`.

    Raises:
        ConfigError: when there is no such feature.
    """
    kinds = ("categorical", "sequence", "embedding")
    feature = check_feature(features.item, name, kinds, item_features.column_names)
    if feature.kind != "embedding":
        return item_members(features, item_features, catalogue, name)[1], "jaccard"
    values = _values(item_features, catalogue, name)
    vectors = np.zeros((len(catalogue), feature.length or 0), np.float32)
    there = values.is_valid().to_numpy(zero_copy_only=False)
    vectors[there] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, vectors.shape[1])
    return vectors, "cosine"


def _values(item_features: pa.Table, catalogue: pa.Array, name: str) -> pa.Array:
    """[items] the latest stored values."""
    latest = pc.max(item_features.column("event_timestamp"))
    rows = pa.table({"item_id": catalogue, "timestamp": pa.array([latest.as_py()] * len(catalogue), TIMESTAMP)})
    return join_as_of(rows, item_features, "item_id", [name]).column(name).combine_chunks()

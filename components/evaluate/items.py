"""What the items of the catalogue are: by which they are told apart and grouped."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.evaluate.slices import check_feature
from feature_repo.spec import FeatureSpec


def item_members(features: FeatureSpec, items: pa.Table, name: str) -> tuple[list[str], np.ndarray]:
    """The values of a categorical or sequence feature [g], and which of them each item has, [items, g] 0 or 1.

    Args:
        features: the feature spec.
        items: one row of stored values an item.
        name: of the feature.

    Raises:
        ConfigError: when there is no such feature.
    """
    feature = check_feature(features.item, name, ("categorical", "sequence"), items.column_names)
    values = items.column(name).combine_chunks()
    if feature.kind == "categorical":
        rows, entries = np.arange(len(items)), values
    else:
        rows, entries = pc.list_parent_indices(values).to_numpy(), values.flatten()
    ids = entries.fill_null("(missing)").to_numpy(zero_copy_only=False).astype(str)
    names, places = np.unique(ids, return_inverse=True)
    members = np.zeros((len(items), len(names)))
    members[rows, places] = 1
    return names.tolist(), members


def item_vectors(features: FeatureSpec, items: pa.Table, name: str) -> tuple[np.ndarray, str]:
    """What items are told apart by, [items, d], and the distance that fits it: `jaccard` or `cosine`.

    Args:
        features: the feature spec.
        items: one row of stored values an item.
        name: of a categorical, sequence or embedding feature.

    Raises:
        ConfigError: when there is no such feature.
    """
    kinds = ("categorical", "sequence", "embedding")
    feature = check_feature(features.item, name, kinds, items.column_names)
    if feature.kind != "embedding":
        return item_members(features, items, name)[1], "jaccard"
    values = items.column(name).combine_chunks()
    vectors = np.zeros((len(items), feature.length or 0), np.float32)
    there = values.is_valid().to_numpy(zero_copy_only=False)
    vectors[there] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, vectors.shape[1])
    return vectors, "cosine"

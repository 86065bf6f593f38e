"""Shares of a user's likes by an attribute, against the candidate's values of that attribute."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from feature_repo.spec import AggregateSource, ColumnSource, Feature
from trainer.inputs import Encoded, Preprocessing, table_of


class Tastes:
    """Pairs of a user's `share` by an item attribute and the item feature of that attribute.

    Args:
        query_features: user and context inputs.
        item_features: item inputs.
        preprocessing: of both; tells at which index of the item feature each value of the share stands.
    """

    def __init__(
        self, query_features: Iterable[Feature], item_features: Iterable[Feature], preprocessing: Preprocessing
    ) -> None:
        by_column = {
            f.source.column: f
            for f in item_features
            if isinstance(f.source, ColumnSource) and f.kind in ("categorical", "sequence")
        }
        self.pairs = [
            (feature, by_column[feature.source.by])
            for feature in query_features
            if isinstance(feature.source, AggregateSource) and feature.source.by in by_column
        ]
        self._places = [_places(share, attribute, preprocessing) for share, attribute in self.pairs]

    def of_requests(self, encoded: Encoded) -> tf.Tensor:
        """[n, values] shares of the users' likes."""
        return tf.concat([encoded[share.name] for share, _ in self.pairs], axis=-1)

    def of_items(self, encoded: Encoded) -> tf.Tensor:
        """[..., values] what share of the item's values of an attribute is which; zeros where it has none."""
        parts = []
        for (_, attribute), places in zip(self.pairs, self._places, strict=True):
            indices = encoded[attribute.name] if attribute.kind == "sequence" else encoded[attribute.name][..., None]
            held = tf.gather(places, indices)
            count = tf.reduce_sum(tf.cast(indices > 0, tf.float32), axis=-1)
            parts.append(tf.reduce_sum(held, axis=-2) / tf.maximum(count, 1.0)[..., None])
        return tf.concat(parts, axis=-1)

    def match(self, requests: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """[n, k, pairs] mean share of the candidate's values among the user's likes.

        Args:
            requests: [n, values].
            items: [n, k, values].
        """
        found, start = [], 0
        for share, _ in self.pairs:
            here = slice(start, start + (share.length or 0))
            found.append(tf.einsum("nv,nkv->nk", requests[:, here], items[..., here]))
            start = here.stop
        return tf.stack(found, axis=-1)


def _places(share: Feature, attribute: Feature, preprocessing: Preprocessing) -> np.ndarray:
    """[vocabulary, values] float32, 1 where an index of the attribute means a value of the share."""
    owner = str(table_of(attribute))
    values = share.source.values if isinstance(share.source, AggregateSource) else ()
    indices = preprocessing.lookups[owner](tf.constant(values)).numpy()
    places = np.zeros((preprocessing.sizes[owner], len(values)), np.float32)
    # Values that the vocabulary lacks share an index with all unknown ones: they match none.
    known = indices > 1 if hasattr(preprocessing.lookups[owner], "lookup_table") else indices > 0
    places[indices[known], np.flatnonzero(known)] = 1.0
    return places

"""The DLRM ranker."""

from collections.abc import Iterable

import tensorflow as tf

from feature_repo.spec import Feature
from trainer.config import RankingConfig
from trainer.inputs import Encoded, Preprocessing
from trainer.rankers.interface import ItemSide
from trainer.rankers.neural import NeuralRanker, QuerySide
from trainer.two_tower import ITEM_KEY, Tower


class DotInteractionRanker(NeuralRanker):
    """Dot products of all pairs of fields, then a network.

    Every categorical feature is a field of its own, every pooled history another; a bottom network makes one field of
    the numbers of each side, and one of the item's activity. The fields of a request and their
    products are computed once a request, an item's fields once an item, products between the sides as one product of
    matrices.

    Args:
        query_features, item_features, preprocessing: as for `Ranker`.
        config: section `ranking`; all embeddings have `embedding_dimension`.

    References:
        Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        preprocessing: Preprocessing,
        config: RankingConfig,
    ) -> None:
        super().__init__(query_features, item_features, preprocessing, config, config.embedding_dimension)
        dimension, seed = config.embedding_dimension, config.seed
        self.query_numbers = tuple(f for f in self.other_features if _is_number(f))
        self.query_categories = tuple(f for f in self.other_features if not _is_number(f))
        self.item_numbers = tuple(f for f in self.attribute_features if _is_number(f))
        self.item_categories = tuple(f for f in self.attribute_features if not _is_number(f))
        self.query_bottom = Tower((config.user_units,), dimension, config.dropout, seed + 10)
        self.item_bottom = Tower((config.item_units,), dimension, 0.0, seed + 20)
        self.activity_bottom = Tower((config.item_units,), dimension, 0.0, seed + 25)
        glorot = tf.keras.initializers.GlorotUniform
        self.top = [
            tf.keras.layers.Dense(units, activation="relu", kernel_initializer=glorot(seed=seed + 40 + place))
            for place, units in enumerate(config.hidden_units)
        ]

    def request_vector(
        self, encoded: Encoded, interests: tf.Tensor | None, plain: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """[n, fields * dimension] of a request."""
        fields = [self._field(feature, encoded) for feature in self.query_categories]
        if self.query_numbers:
            fields.append(self.query_bottom(self.embedding.dense(self.query_numbers, encoded), training=training))
        if interests is not None:
            fields += tf.unstack(interests, axis=1)
        return tf.concat(fields, axis=-1)

    def item_vector(self, encoded: Encoded) -> tf.Tensor:
        """[..., fields * dimension] of an item, the field of its id first."""
        fields = [self.embedding.tables[ITEM_KEY](encoded[ITEM_KEY])] if self.takes_item_key else []
        fields += [self._field(feature, encoded) for feature in self.item_categories]
        if self.item_numbers:
            fields.append(self.item_bottom(self.embedding.dense(self.item_numbers, encoded)))
        return tf.concat(fields, axis=-1)

    def own_vector(self, items: ItemSide) -> tf.Tensor:
        """[n, k, dimension] of items."""
        return items.vector[..., : self.config.embedding_dimension]

    def finding_layer(self, query: QuerySide, items: ItemSide, training: bool) -> tf.Tensor:
        """[n, k, width]: the top network's last layer and, for the linear part, products and activity."""
        of_query, of_items = self._split(query.vector), self._split(items.vector)
        bottom = self.activity_bottom(items.activity) if self.activity_features else None
        changing = of_items if bottom is None else tf.concat([of_items, bottom[..., None, :]], axis=2)
        between = tf.einsum("nkid,nud->nkiu", changing, of_query)
        count = tf.shape(items.vector)[1]
        between = tf.reshape(between, [-1, count, changing.shape[2] * of_query.shape[1]])
        repeated = tf.repeat(self._pairs(of_query)[:, None, :], count, axis=1)
        parts = [between, self._pairs(changing), repeated, *self.against_past(query, items, training)]
        parts += [items.activity] if bottom is None else [bottom, items.activity]
        x = tf.concat(parts, axis=-1)
        for place, layer in enumerate(self.top):
            x = layer(x)
            if place == 0:
                x = self.dropout(x, training=training)
        return tf.concat([x, between, items.activity], axis=-1)

    def _field(self, feature: Feature, encoded: Encoded) -> tf.Tensor:
        return self.embedding.dense([feature], encoded)

    def _split(self, vector: tf.Tensor) -> tf.Tensor:
        """[..., fields * dimension] -> [..., fields, dimension]."""
        dimension = self.config.embedding_dimension
        shape = tf.concat([tf.shape(vector)[:-1], [vector.shape[-1] // dimension, dimension]], axis=0)
        split = tf.reshape(vector, shape)
        split.set_shape([*vector.shape[:-1], vector.shape[-1] // dimension, dimension])
        return split

    @staticmethod
    def _pairs(fields: tf.Tensor) -> tf.Tensor:
        """Dot products of every two different fields, [..., fields, dimension] -> [..., pairs]."""
        count = int(fields.shape[-2])
        products = tf.matmul(fields, fields, transpose_b=True)
        upper = [(first * count + second) for first in range(count) for second in range(first + 1, count)]
        shape = tf.concat([tf.shape(products)[:-2], [count * count]], axis=0)
        pairs = tf.gather(tf.reshape(products, shape), upper, axis=-1)
        pairs.set_shape([*fields.shape[:-2], len(upper)])
        return pairs


def _is_number(feature: Feature) -> bool:
    return feature.kind in ("numeric", "timestamp", "embedding")

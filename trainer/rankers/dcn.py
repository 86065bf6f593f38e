"""The DCN-v2 ranker."""

from collections.abc import Iterable

import tensorflow as tf
import tensorflow_recommenders as tfrs

from feature_repo.spec import Feature
from trainer.config import RankingConfig
from trainer.inputs import Encoded, Preprocessing
from trainer.rankers.interface import ItemSide
from trainer.rankers.neural import NeuralRanker, QuerySide
from trainer.two_tower import Tower


class DeepCrossRanker(NeuralRanker):
    """Cross layers and a deep part over both sides.

    The input is [query vector, item vector, their elementwise product, the similarity of the item to each interest,
    what the user's past says about the candidate, the item's activity]. Stacked, the deep part reads what the cross
    layers make of it; parallel, both read the input. A linear part reads similarities and activity again.

    Args:
        query_features, item_features, preprocessing: as for `Ranker`.
        config: section `ranking`; `cross_rank` None makes the cross layers' weights full.

    References:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems", WWW 2021.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        preprocessing: Preprocessing,
        config: RankingConfig,
    ) -> None:
        super().__init__(query_features, item_features, preprocessing, config, config.feature_dimension)
        dimension, seed = config.embedding_dimension, config.seed
        self.query_tower = Tower((config.user_units,), dimension, config.dropout, seed + 10)
        self.item_tower = Tower((config.item_units,), dimension, 0.0, seed + 20)
        glorot = tf.keras.initializers.GlorotUniform
        self.cross = [
            tfrs.layers.dcn.Cross(projection_dim=config.cross_rank, kernel_initializer=glorot(seed=seed + 30 + place))
            for place in range(config.cross_layers)
        ]
        self.deep = [
            tf.keras.layers.Dense(units, activation="relu", kernel_initializer=glorot(seed=seed + 40 + place))
            for place, units in enumerate(config.hidden_units)
        ]

    def request_vector(
        self, encoded: Encoded, interests: tf.Tensor | None, plain: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """[n, dimension] of a request."""
        parts = [] if plain is None else [plain]
        if interests is not None:
            parts.insert(0, tf.reshape(interests, [-1, interests.shape[1] * interests.shape[2]]))
        return self.query_tower(tf.concat(parts, axis=-1), training=training)

    def item_vector(self, encoded: Encoded) -> tf.Tensor:
        """[..., dimension] of an item."""
        return self.combine_key(encoded, self.item_tower)

    def own_vector(self, items: ItemSide) -> tf.Tensor:
        """[n, k, dimension] of items."""
        return items.vector

    def finding_layer(self, query: QuerySide, items: ItemSide, training: bool) -> tf.Tensor:
        """[n, k, width]: the last layer and, for the linear part, similarities and activity."""
        similarity = tf.matmul(items.vector, query.interests, transpose_b=True)
        product = query.vector[:, None, :] * items.vector
        match = tf.reduce_sum(product, axis=-1, keepdims=True)
        repeated = tf.repeat(query.vector[:, None, :], tf.shape(items.vector)[1], axis=1)
        past = self.against_past(query, items, training)
        x0 = tf.concat([repeated, items.vector, product, match, similarity, *past, items.activity], axis=-1)
        crossed = x0
        for layer in self.cross:
            crossed = layer(x0, crossed)
        stacked = self.config.structure == "stacked"
        deep = crossed if stacked else x0
        for place, layer in enumerate(self.deep):
            deep = layer(deep)
            if place == 0:
                deep = self.dropout(deep, training=training)
        last = [deep] if stacked else [crossed, deep]
        return tf.concat([*last, similarity, match, items.activity], axis=-1)

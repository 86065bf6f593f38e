"""The DCN-v2 ranker."""

from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_recommenders as tfrs

from feature_repo.spec import AggregateSource, Feature
from trainer.config import RankingConfig
from trainer.embeddings import EmbeddingTables, HistoryPooling, histories
from trainer.inputs import Encoded
from trainer.two_tower import ITEM_KEY, Tower, check_item_side


class QuerySide(NamedTuple):
    """What the ranker makes of a request once, however many candidates it has.

    Attributes:
        interests: [n, interests, dimension] pooled histories, in the space of the item vectors.
        vector: [n, dimension].
    """

    interests: tf.Tensor
    vector: tf.Tensor


class ItemSide(NamedTuple):
    """What the ranker makes of items.

    Attributes:
        vector: [..., dimension].
        activity: [..., numbers], how popular and how well liked an item is.
    """

    vector: tf.Tensor
    activity: tf.Tensor


class Logits(NamedTuple):
    """What the ranker thinks of the candidates of requests, [n, k] each.

    Attributes:
        finding: logit that the candidate, of all items, is one the user would go for.
        liking: logit of a positive outcome, given that it was shown.
    """

    finding: tf.Tensor
    liking: tf.Tensor


class DeepCrossRanker(tf.keras.Model):
    """Two logits for a request and each of its candidates.

    Impressions alone never show a ranker what it is handed in a funnel, mostly items that nobody would look at;
    sampled items alone drown what tells a liked item from a disliked one. So each question gets a head of its own.

    Cross layers read [query vector, item vector, their elementwise product, the similarity of the item to each
    interest, the item's activity]; a deep part reads what they make of it; a linear part reads similarities and
    activity again.

    Args:
        query_features: user and context inputs.
        item_features: item inputs.
        sizes: rows of each table of embeddings.
        config: section `ranking`.

    References:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems", WWW 2021.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        sizes: dict[str, int],
        config: RankingConfig,
    ) -> None:
        super().__init__()
        self.query_features, self.item_features = tuple(query_features), tuple(item_features)
        self.activity_features = tuple(f for f in self.item_features if is_activity(f))
        self.attribute_features = tuple(
            f for f in self.item_features if f.name != ITEM_KEY and f not in self.activity_features
        )
        check_item_side(sizes, self.attribute_features, "ranking")
        dimension, seed = config.embedding_dimension, config.seed
        self.embedding = EmbeddingTables(sizes, ITEM_KEY, dimension, config.feature_dimension, seed)
        self.takes_item_key = ITEM_KEY in sizes
        self.history_features = histories(self.query_features, ITEM_KEY)
        self.other_features = tuple(f for f in self.query_features if f not in self.history_features)
        self.pooling = [HistoryPooling(f.length or 0, config.history_pools) for f in self.history_features]
        self.dropout = tf.keras.layers.Dropout(config.dropout, seed=seed)
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
        self.out = tf.keras.layers.Dense(2, kernel_initializer=glorot(seed=seed + 50))

    def query_side(self, encoded: Encoded, training: bool = False) -> QuerySide:
        """Request-side work, for [n] encoded requests."""
        pooled = [
            pooling(self.embedding.lookup(feature, encoded[feature.name]), encoded[feature.name] > 0)
            for feature, pooling in zip(self.history_features, self.pooling, strict=True)
        ]
        parts = [self.embedding.dense(self.other_features, encoded)] if self.other_features else []
        interests = None
        if pooled:
            interests = self.dropout(tf.concat(pooled, axis=1), training=training)
            parts.insert(0, tf.reshape(interests, [-1, interests.shape[1] * interests.shape[2]]))
        vector = self.query_tower(tf.concat(parts, axis=-1), training=training)
        return QuerySide(vector[:, None, :] if interests is None else interests, vector)

    def item_side(self, encoded: Encoded) -> ItemSide:
        """Item-side work, for encoded items of any shape [...]."""
        vector = self.item_vector(encoded)
        return ItemSide(vector, self.item_activity(encoded, vector))

    def item_vector(self, encoded: Encoded) -> tf.Tensor:
        """What stays of an item while its popularity changes, [..., dimension]."""
        if not self.takes_item_key:
            return self.item_tower(self.embedding.dense(self.attribute_features, encoded))
        key = self.embedding.tables[ITEM_KEY](encoded[ITEM_KEY])
        if not self.attribute_features:
            return key
        return key + self.item_tower(self.embedding.dense(self.attribute_features, encoded))

    def item_activity(self, encoded: Encoded, vector: tf.Tensor) -> tf.Tensor:
        """[..., numbers] for items of the same shape as `vector`; no numbers where the spec has none."""
        if not self.activity_features:
            return tf.zeros_like(vector[..., :0])
        return self.embedding.dense(self.activity_features, encoded)

    def logits(self, query: QuerySide, items: ItemSide, training: bool = False) -> Logits:
        """Logits [n, k] of k candidates of each of n requests.

        Args:
            query: of [n] requests.
            items: of [n, k] candidates.
            training: whether to drop units.
        """
        similarity = tf.matmul(items.vector, query.interests, transpose_b=True)
        product = query.vector[:, None, :] * items.vector
        match = tf.reduce_sum(product, axis=-1, keepdims=True)
        repeated = tf.repeat(query.vector[:, None, :], tf.shape(items.vector)[1], axis=1)
        x0 = tf.concat([repeated, items.vector, product, match, similarity, items.activity], axis=-1)
        x = x0
        for layer in self.cross:
            x = layer(x0, x)
        for place, layer in enumerate(self.deep):
            x = layer(x)
            if place == 0:
                x = self.dropout(x, training=training)
        both = self.out(tf.concat([x, similarity, match, items.activity], axis=-1))
        return Logits(both[..., 0], both[..., 1])


def is_activity(feature: Feature) -> bool:
    """Whether an item feature is a number that changes with time."""
    return feature.kind == "timestamp" or (feature.kind == "numeric" and isinstance(feature.source, AggregateSource))

"""What the neural rankers share: embedded items, pooled histories, and the candidate against the history."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf

from feature_repo.spec import AggregateSource, Feature
from trainer.config import RankingConfig
from trainer.embeddings import EmbeddingTables, HistoryPooling, histories
from trainer.inputs import Encoded, Preprocessing
from trainer.rankers.attention import TargetAttention, history_matches, history_outcomes
from trainer.rankers.interface import ItemSide, Logits, Ranker
from trainer.rankers.liking import LikingNetwork
from trainer.two_tower import ITEM_KEY, Tower


class History(NamedTuple):
    """One history of the requests, as target attention reads it.

    Attributes:
        ids: [n, length] indices, newest first; 0 is padding.
        entries: [n, length, dimension] their embeddings.
        outcomes: [n, length] float32, 1 for what the user liked.
    """

    ids: tf.Tensor
    entries: tf.Tensor
    outcomes: tf.Tensor


class QuerySide(NamedTuple):
    """What a neural ranker makes of a request once, however many candidates it has.

    Attributes:
        interests: [n, interests, dimension] pooled histories, in the space of the item vectors.
        vector: [n, width].
        plain: [n, width] features other than histories, embedded.
        histories: of the request, where the config wants them held against the candidates.
        tastes: [n, values] shares of the user's likes, as of `Tastes`.
    """

    interests: tf.Tensor
    vector: tf.Tensor
    plain: tf.Tensor
    histories: tuple[History, ...]
    tastes: tf.Tensor


class NeuralRanker(Ranker):
    """Embeds both sides; what becomes of them together is the subclass's.

    Args:
        query_features, item_features, preprocessing: as for `Ranker`.
        config: section `ranking`.
        feature_dimension: of the embeddings of all features but the item's id.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        preprocessing: Preprocessing,
        config: RankingConfig,
        feature_dimension: int,
    ) -> None:
        super().__init__(query_features, item_features, preprocessing, config)
        dimension, seed = config.embedding_dimension, config.seed
        self.embedding = EmbeddingTables(preprocessing.sizes, ITEM_KEY, dimension, feature_dimension, seed)
        self.history_features = histories(self.query_features, ITEM_KEY)
        self.other_features = tuple(f for f in self.query_features if f not in self.history_features)
        self.pooling = [HistoryPooling(f.length or 0, config.history_pools) for f in self.history_features]
        self.dropout = tf.keras.layers.Dropout(config.dropout, seed=seed)
        self.attention = [
            TargetAttention(feature.length or 0, dimension, seed + 60 + place)
            for place, feature in enumerate(self.history_features)
            if config.target_attention
        ]
        lengths = [feature.length or 0 for feature in self.history_features if config.target_attention]
        self.liking = LikingNetwork(lengths, dimension, config.liking_units, config.dropout, seed + 80)
        self.finding = tf.keras.layers.Dense(1, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed + 50))

    @abstractmethod
    def request_vector(
        self, encoded: Encoded, interests: tf.Tensor | None, plain: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """[n, width] of a request.

        Args:
            encoded: its features.
            interests: [n, interests, dimension] its pooled histories, where it has any.
            plain: [n, width] its other features embedded, where it has any.
            training: whether to drop units.
        """

    @abstractmethod
    def finding_layer(self, query: QuerySide, items: ItemSide, training: bool) -> tf.Tensor:
        """[n, k, width] of which the finding logit is a weighted sum."""

    @abstractmethod
    def own_vector(self, items: ItemSide) -> tf.Tensor:
        """[n, k, dimension] of items, in the space of the item ids' embeddings."""

    def logits(self, query: QuerySide, items: ItemSide, training: bool = False) -> Logits:
        """Logits [n, k]."""
        finding = self.finding(self.finding_layer(query, items, training))[..., 0]
        return Logits(finding, self.liking_logits(query, items, training))

    def liking_logits(self, query: QuerySide, items: ItemSide, training: bool = False) -> tf.Tensor:
        """The liking logits [n, k] alone."""
        numbers = items.activity
        if self.tastes.pairs:
            numbers = tf.concat([numbers, self.tastes.match(query.tastes, items.tastes)], axis=-1)
        read = query.histories if self.config.target_attention else ()
        return self.liking(query.plain, self.own_vector(items), numbers, read, training=training)

    def query_side(self, encoded: Encoded, training: bool = False) -> QuerySide:
        """Request-side work, for [n] encoded requests."""
        embedded = [self.embedding.lookup(feature, encoded[feature.name]) for feature in self.history_features]
        interests = None
        if embedded:
            pooled = [
                pooling(entries, encoded[feature.name] > 0)
                for feature, pooling, entries in zip(self.history_features, self.pooling, embedded, strict=True)
            ]
            interests = self.dropout(tf.concat(pooled, axis=1), training=training)
        plain = self.embedding.dense(self.other_features, encoded) if self.other_features else None
        vector = self.request_vector(encoded, interests, plain, training)
        kept = tuple(
            History(encoded[feature.name], entries, self._outcomes(feature, encoded))
            for feature, entries in zip(self.history_features, embedded, strict=True)
            if self.config.target_attention or self.config.history_matches
        )
        tastes = self.tastes.of_requests(encoded) if self.tastes.pairs else vector[:, :0]
        plain = vector[:, :0] if plain is None else plain
        return QuerySide(vector[:, None, :] if interests is None else interests, vector, plain, kept, tastes)

    def against_past(self, query: QuerySide, items: ItemSide, training: bool) -> list[tf.Tensor]:
        """What the user's past says about each candidate, [n, k, width] each.

        Args:
            query: of [n] requests.
            items: of [n, k] candidates.
            training: whether to drop units.
        """
        found, vector = [], self.own_vector(items)
        for attention, history in zip(self.attention, query.histories, strict=False):
            liked = tf.stack([history.outcomes, 1.0 - history.outcomes], axis=-1)
            read, weights = attention(vector, history.entries, history.ids > 0, liked)
            match = tf.reduce_sum(read * vector, axis=-1, keepdims=True)
            found += [self.dropout(read, training=training), weights, match]
        if self.config.history_matches and self.takes_item_key:
            found += [history_matches(items.key, history.ids) for history in query.histories]
        if self.tastes.pairs:
            found.append(self.tastes.match(query.tastes, items.tastes))
        return found

    def combine_key(self, encoded: Encoded, tower: Tower) -> tf.Tensor:
        """[..., dimension] embedding of the item's id plus what `tower` makes of its attributes."""
        if not self.takes_item_key:
            return tower(self.embedding.dense(self.attribute_features, encoded))
        key = self.embedding.tables[ITEM_KEY](encoded[ITEM_KEY])
        if not self.attribute_features:
            return key
        return key + tower(self.embedding.dense(self.attribute_features, encoded))

    def _outcomes(self, feature: Feature, encoded: Encoded) -> tf.Tensor:
        ids = encoded[feature.name]
        if _of_positives(feature):
            return tf.cast(ids > 0, tf.float32)
        liked = [encoded[other.name] for other in self.history_features if _of_positives(other)]
        return history_outcomes(ids, tf.concat(liked, axis=1)) if liked else tf.zeros_like(ids, tf.float32)


def _of_positives(feature: Feature) -> bool:
    return isinstance(feature.source, AggregateSource) and feature.source.of == "positive"

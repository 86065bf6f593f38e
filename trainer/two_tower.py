"""The two-tower retrieval model."""

import math
from collections.abc import Iterable, Sequence

import tensorflow as tf

from feature_repo.errors import ConfigError
from feature_repo.spec import ENTITY_KEYS, Feature
from trainer.cold_start import drop_ids
from trainer.config import RetrievalConfig
from trainer.embeddings import EmbeddingTables, histories
from trainer.history_encoders import make_history_encoders
from trainer.inputs import Encoded

ITEM_KEY = ENTITY_KEYS["item"]


class Tower(tf.keras.layers.Layer):
    """Hidden layers that end in an embedding.

    Args:
        hidden_units: widths of the hidden layers.
        dimension: of the embedding.
        dropout: share of the hidden units dropped in training.
        seed: of the first weights and of dropout.
    """

    def __init__(self, hidden_units: Sequence[int], dimension: int, dropout: float, seed: int) -> None:
        super().__init__()
        glorot = tf.keras.initializers.GlorotUniform
        self.hidden = [
            tf.keras.layers.Dense(units, activation="relu", kernel_initializer=glorot(seed=seed + place))
            for place, units in enumerate(hidden_units)
        ]
        self.dropout = tf.keras.layers.Dropout(dropout, seed=seed)
        self.out = tf.keras.layers.Dense(dimension, kernel_initializer=glorot(seed=seed + len(self.hidden)))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embeds [..., width] into [..., dimension]."""
        for layer in self.hidden:
            x = self.dropout(layer(x), training=training)
        return self.out(x)


class TwoTower(tf.keras.Model):
    """Queries and items in one space, where the dot product is the score.

    The query tower reads what the user did lately through `make_history_encoders`, in the item ids' own embeddings.
    The item tower adds the id's embedding to what it makes of the other features, so an item that training never saw
    lives by its features alone, and by the embedding of the unknown id.

    Args:
        query_features: user and context inputs.
        item_features: item inputs.
        sizes: rows of each table of embeddings.
        config: section `retrieval`.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        sizes: dict[str, int],
        config: RetrievalConfig,
    ) -> None:
        super().__init__()
        self.query_features = tuple(query_features)
        self.item_features = tuple(f for f in item_features if f.name != ITEM_KEY)
        check_item_side(sizes, self.item_features, "retrieval")
        self.embedding = EmbeddingTables(
            sizes, ITEM_KEY, config.embedding_dimension, config.feature_dimension, config.seed
        )
        self.history_features = histories(self.query_features, ITEM_KEY)
        self.other_features = tuple(f for f in self.query_features if f not in self.history_features)
        dimension, seed = config.embedding_dimension, config.seed
        self.encoders = [
            make_history_encoders(
                config.history_encoder, f.length or 0, dimension, config.history_pools, config.dropout, seed + 30
            )
            for f in self.history_features
        ]
        self.dropout = tf.keras.layers.Dropout(config.dropout, seed=seed)
        self.query_tower = Tower(config.hidden_units, dimension, config.dropout, seed + 10)
        self.item_tower = Tower(config.hidden_units, dimension, 0.0, seed + 20)
        self.takes_item_key = ITEM_KEY in sizes
        self.item_id_dropout, self.normalise, self.seed = config.item_id_dropout, config.normalise, seed
        self.log_temperature = self.add_weight(
            name="log_temperature",
            shape=(),
            initializer=tf.keras.initializers.Constant(math.log(config.temperature)),
            trainable=config.learn_temperature,
        )

    def embed_query(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Embeds requests, [n] encoded features -> [n, dimension]; the temperature is in it."""
        parts = []
        for feature, encoders in zip(self.history_features, self.encoders, strict=True):
            ids = encoded[feature.name]
            entries = self.embedding.lookup(feature, ids)
            vectors = tf.concat([encoder(entries, ids > 0, training=training) for encoder in encoders], axis=1)
            flat = tf.reshape(vectors, [-1, vectors.shape[1] * vectors.shape[2]])
            parts.append(self.dropout(flat, training=training))
        if self.other_features:
            parts.append(self.embedding.dense(self.other_features, encoded))
        vector = self.query_tower(tf.concat(parts, axis=-1), training=training)
        return self._scaled(vector) / tf.exp(self.log_temperature)

    def embed_item(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Embeds items, [m] encoded features -> [m, dimension]."""
        if not self.takes_item_key:
            return self._scaled(self.embed_content(encoded))
        ids = encoded[ITEM_KEY]
        if training and self.item_id_dropout:
            ids = drop_ids(ids, self.item_id_dropout, self.seed)
        key = self.embedding.tables[ITEM_KEY](ids)
        return self._scaled(self.embed_content(encoded) + key if self.item_features else key)

    def embed_content(self, encoded: Encoded) -> tf.Tensor:
        """What the item tower makes of everything but the id, [m, dimension]."""
        return self.item_tower(self.embedding.dense(self.item_features, encoded))

    def _scaled(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors, axis=-1) if self.normalise else vectors


def check_item_side(sizes: dict[str, int], features: tuple[Feature, ...], stage: str) -> None:
    """Raises a ConfigError where nothing tells one item from another."""
    if ITEM_KEY not in sizes and not features:
        raise ConfigError(
            f"{stage} has no feature that tells items apart. Received: no {ITEM_KEY} and no attribute of items: "
            f"add {stage} to the `used_by` of one"
        )

"""The two-tower retrieval model."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from feature_repo.errors import ConfigError
from feature_repo.spec import ENTITY_KEYS, Feature
from trainer.config import RetrievalConfig
from trainer.embeddings import EmbeddingTables, histories
from trainer.history_encoders import make_history_encoder
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

    The query tower reads what the user did lately through the configured encoder, in the item ids' own embeddings. The
    item tower adds the id's embedding to what it makes of the other features, so an item that training never saw
    lives by its features alone.

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
        self.history_encoders = [
            make_history_encoder(config, feature.length or 0, config.seed + 100 * (place + 1))
            for place, feature in enumerate(self.history_features)
        ]
        self.history_dropout = tf.keras.layers.Dropout(config.dropout, seed=config.seed)
        self.query_tower = Tower(config.hidden_units, config.embedding_dimension, config.dropout, config.seed + 10)
        self.item_tower = Tower(config.hidden_units, config.embedding_dimension, 0.0, config.seed + 20)
        self.takes_item_key = ITEM_KEY in sizes
        self.normalise, self.temperature = config.normalise, config.temperature

    def embed_query(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Embeds requests, [n] encoded features -> [n, dimension]."""
        parts = []
        for feature, encoder in zip(self.history_features, self.history_encoders, strict=True):
            ids = encoded[feature.name]
            vectors = encoder(self.embedding.lookup(feature, ids), ids > 0, training=training)
            flat = tf.reshape(vectors, [-1, vectors.shape[1] * vectors.shape[2]])
            parts.append(self.history_dropout(flat, training=training))
        if self.other_features:
            parts.append(self.embedding.dense(self.other_features, encoded))
        vectors = self._ended(self.query_tower(tf.concat(parts, axis=-1), training=training))
        return vectors / self.temperature

    def embed_item(self, encoded: Encoded) -> tf.Tensor:
        """Embeds items, [m] encoded features -> [m, dimension]."""
        key = self.embedding.tables[ITEM_KEY](encoded[ITEM_KEY]) if self.takes_item_key else 0.0
        if not self.item_features:
            return self._ended(key)
        return self._ended(self.embed_content(encoded) + key)

    def embed_content(self, encoded: Encoded) -> tf.Tensor:
        """What the features of items other than the id make of them, [m, dimension]."""
        return self.item_tower(self.embedding.dense(self.item_features, encoded))

    def _ended(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors, axis=-1) if self.normalise else vectors


def check_item_side(sizes: dict[str, int], features: tuple[Feature, ...], stage: str) -> None:
    """Raises a ConfigError where nothing tells one item from another."""
    if ITEM_KEY not in sizes and not features:
        raise ConfigError(
            f"{stage} has no feature that tells items apart. Received: no {ITEM_KEY} and no attribute of items: "
            f"add {stage} to the `used_by` of one"
        )

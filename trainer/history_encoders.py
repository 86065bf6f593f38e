"""From what a user did lately to vectors: the sequence encoders of the query tower."""

from typing import Any

import tensorflow as tf

from trainer.config import RetrievalConfig
from trainer.embeddings import HistoryPooling

ABSENT = -1e9
"""Attention logit of padding."""


def make_history_encoder(config: RetrievalConfig, length: int, seed: int) -> tf.keras.layers.Layer:
    """The configured encoder of one history.

    Every encoder is called with entries [n, length, dimension], the newest first, and whether each is present, [n,
    length] bool, and gives [n, vectors, dimension]: zeros for an empty history, and the same whatever padding holds.

    Args:
        config: section `retrieval`.
        length: most entries of the history.
        seed: of the first weights.
    """
    if config.history_encoder == "gru":
        return GruHistory(config.embedding_dimension, seed)
    if config.history_encoder == "self_attention":
        return AttentionHistory(length, config.embedding_dimension, config.attention_blocks, config.dropout, seed)
    return HistoryPooling(length, config.history_pools)


class GruHistory(tf.keras.layers.Layer):
    """The state of a gated recurrent unit after the newest entry.

    Args:
        dimension: of the entries and of the state.
        seed: of the first weights.

    References:
        Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
    """

    def __init__(self, dimension: int, seed: int) -> None:
        super().__init__()
        self.recurrent = tf.keras.layers.GRU(
            dimension,
            kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed),
            recurrent_initializer=tf.keras.initializers.Orthogonal(seed=seed + 1),
        )

    def call(self, entries: tf.Tensor, present: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[n, length, dimension] newest first -> [n, 1, dimension]."""
        # Read from the oldest on; a masked step leaves the state, which starts as zeros, as it is.
        state = self.recurrent(entries[:, ::-1], mask=present[:, ::-1], training=training)
        return state[:, None, :]


class AttentionHistory(tf.keras.layers.Layer):
    """Blocks of self-attention over the entries; read at the newest one and as the mean.

    Args:
        length: most entries.
        dimension: of the entries.
        blocks: of attention and a network each.
        dropout: share of units dropped in training.
        seed: of the first weights and of dropout.

    References:
        Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. Entries see each other both ways,
        since only the end of the sequence is read.
    """

    def __init__(self, length: int, dimension: int, blocks: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.position = self.add_weight(
            name="position",
            shape=(length, dimension),
            initializer=tf.keras.initializers.RandomNormal(stddev=0.02, seed=seed),
        )
        self.blocks = [_Block(dimension, dropout, seed + 10 * place) for place in range(blocks)]
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6)

    def call(self, entries: tf.Tensor, present: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[n, length, dimension] newest first -> [n, 2, dimension]."""
        held = tf.cast(present, tf.float32)[..., None]
        x = (entries + self.position) * held
        for block in self.blocks:
            x = block(x, present, training=training) * held
        x = self.norm(x) * held
        mean = tf.reduce_sum(x, axis=1) / tf.maximum(tf.reduce_sum(held, axis=1), 1.0)
        return tf.stack([x[:, 0], mean], axis=1)


class _Block(tf.keras.layers.Layer):
    """Attention, then a network, each around a residual."""

    def __init__(self, dimension: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.scale = float(dimension) ** -0.5
        self.query, self.key, self.value, self.inner, self.outer = (
            _dense(dimension, seed + place, activation="relu" if place == 3 else None) for place in range(5)
        )
        self.norms = [tf.keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropout = tf.keras.layers.Dropout(dropout, seed=seed)

    def call(self, x: tf.Tensor, present: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[n, length, dimension] of entries that attend to those that are present."""
        normed = self.norms[0](x)
        logits = tf.matmul(self.query(normed), self.key(normed), transpose_b=True) * self.scale
        weights = tf.nn.softmax(tf.where(present[:, None, :], logits, ABSENT))
        x = x + self.dropout(tf.matmul(weights, self.value(normed)), training=training)
        return x + self.dropout(self.outer(self.inner(self.norms[1](x))), training=training)


def _dense(units: int, seed: int, **options: Any) -> tf.keras.layers.Dense:
    return tf.keras.layers.Dense(units, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed), **options)

"""What a query tower makes of a user's recent history."""

import tensorflow as tf

from trainer.config import HistoryEncoder
from trainer.embeddings import HistoryPooling


class GatedRecurrence(tf.keras.layers.Layer):
    """The last state of a GRU that reads a history from its oldest entry to its newest.

    Args:
        dimension: of the entries and of the state.
        seed: of the first weights.

    References:
        Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
    """

    def __init__(self, dimension: int, seed: int) -> None:
        super().__init__()
        self.recurrence = tf.keras.layers.GRU(
            dimension,
            kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed),
            recurrent_initializer=tf.keras.initializers.Orthogonal(seed=seed + 1),
        )

    def call(self, entries: tf.Tensor, present: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes histories.

        Args:
            entries: [n, length, dimension] embeddings, newest first.
            present: [n, length] bool, False for padding.
            training: makes no difference.

        Returns:
            [n, 1, dimension]; zeros for an empty history.
        """
        state = self.recurrence(tf.reverse(entries, [1]), mask=tf.reverse(present, [1]))
        return (state * tf.cast(tf.reduce_any(present, axis=1, keepdims=True), tf.float32))[:, None, :]


class SelfAttention(tf.keras.layers.Layer):
    """A transformer block over a history, of which the newest entry's state and the mean of all states are kept.

    Every entry attends to every other: the whole history lies before what is to be found.

    Args:
        length: most entries of a history.
        dimension: of the entries.
        heads: of the attention; divides the dimension.
        dropout: share of attention weights and hidden units dropped in training.
        seed: of the first weights and of dropout.

    References:
        Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
    """

    def __init__(self, length: int, dimension: int, heads: int, dropout: float, seed: int) -> None:
        super().__init__()
        glorot = tf.keras.initializers.GlorotUniform
        self.heads = heads
        self.position = self.add_weight(
            name="position",
            shape=(length, dimension),
            initializer=tf.keras.initializers.RandomNormal(stddev=0.05, seed=seed),
        )
        self.query, self.key, self.value, self.merge, self.wide, self.narrow = (
            tf.keras.layers.Dense(dimension, activation=activation, kernel_initializer=glorot(seed=seed + 1 + place))
            for place, activation in enumerate((None, None, None, None, "relu", None))
        )
        self.before_attention = tf.keras.layers.LayerNormalization(epsilon=1e-6)
        self.before_hidden = tf.keras.layers.LayerNormalization(epsilon=1e-6)
        self.dropout = tf.keras.layers.Dropout(dropout, seed=seed)

    def call(self, entries: tf.Tensor, present: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes histories.

        Args:
            entries: [n, length, dimension] embeddings, newest first.
            present: [n, length] bool, False for padding.
            training: whether to drop units.

        Returns:
            [n, 2, dimension]; zeros for an empty history.
        """
        held = tf.cast(present, tf.float32)[..., None]
        x = entries + self.position
        y = self.before_attention(x)
        query, key, value = (self._split(layer(y)) for layer in (self.query, self.key, self.value))
        scores = tf.matmul(query, key, transpose_b=True) / tf.sqrt(float(query.shape[-1]))
        weights = tf.nn.softmax(tf.where(present[:, None, None, :], scores, -1e9))
        attended = tf.transpose(tf.matmul(self.dropout(weights, training=training), value), [0, 2, 1, 3])
        x = x + self.merge(tf.reshape(attended, tf.shape(x)))
        hidden = self.narrow(self.dropout(self.wide(self.before_hidden(x)), training=training))
        x = (x + hidden) * held
        mean = tf.reduce_sum(x, axis=1) / tf.maximum(tf.reduce_sum(held, axis=1), 1.0)
        return tf.stack([x[:, 0], mean], axis=1)

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        """[n, length, dimension] -> [n, heads, length, dimension / heads]."""
        shape = [-1, x.shape[1], self.heads, x.shape[2] // self.heads]
        return tf.transpose(tf.reshape(x, shape), [0, 2, 1, 3])


def make_history_encoders(
    kind: HistoryEncoder, length: int, dimension: int, pools: int, dropout: float, seed: int
) -> list[tf.keras.layers.Layer]:
    """Layers that each turn a history [n, length, dimension], newest first, into vectors [n, vectors, dimension].

    Args:
        kind: `pooling` alone, or pooling beside an encoder that reads the order.
        length: most entries of the history.
        dimension: of the entries.
        pools: vectors that pooling gives.
        dropout: of the attention.
        seed: of the first weights.
    """
    encoders: list[tf.keras.layers.Layer] = [HistoryPooling(length, pools)]
    if kind == "gru":
        encoders.append(GatedRecurrence(dimension, seed))
    elif kind == "self_attention":
        heads = 2 if dimension % 2 == 0 else 1
        encoders.append(SelfAttention(length, dimension, heads, dropout, seed))
    return encoders

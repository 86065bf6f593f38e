"""Whether the user will like what they are shown."""

from collections.abc import Sequence

import tensorflow as tf

from trainer.rankers.attention import TargetAttention


class LikingNetwork(tf.keras.layers.Layer):
    """The logit of liking: a small network over plain features, with a linear part.

    What is liked is learned from impressions alone, a few for each user, and a network as wide as the one that finds
    items learns them by heart within an epoch. So this one reads item vectors and histories as the finding head
    shapes them, from far more pairs, and sends no gradient back into them. Of the histories it reads how much of what
    resembles the candidate was liked and how much was not.

    Args:
        lengths: of the histories.
        dimension: of the item vectors.
        hidden_units: widths of the hidden layers; none for a linear model.
        dropout: share of the item's vector and of hidden units dropped in training.
        seed: of the first weights and of dropout.
    """

    def __init__(
        self, lengths: Sequence[int], dimension: int, hidden_units: Sequence[int], dropout: float, seed: int
    ) -> None:
        super().__init__()
        self.attention = [TargetAttention(length, dimension, seed + place) for place, length in enumerate(lengths)]
        glorot = tf.keras.initializers.GlorotUniform
        self.hidden = [
            tf.keras.layers.Dense(units, activation="relu", kernel_initializer=glorot(seed=seed + 10 + place))
            for place, units in enumerate(hidden_units)
        ]
        self.dropout = tf.keras.layers.Dropout(dropout, seed=seed)
        self.out = tf.keras.layers.Dense(1, kernel_initializer=glorot(seed=seed + 20))

    def call(
        self,
        request: tf.Tensor,
        vector: tf.Tensor,
        numbers: tf.Tensor,
        histories: Sequence[tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
        training: bool = False,
    ) -> tf.Tensor:
        """Logits [n, k].

        Args:
            request: [n, width] plain features.
            vector: [n, k, dimension] of the candidates, in the space of the histories' entries.
            numbers: [n, k, numbers] of the candidates.
            histories: ids [n, length], entries [n, length, dimension] and outcomes [n, length] of each history that
                is read.
            training: whether to drop units.
        """
        vector = tf.stop_gradient(vector)
        read = []
        for attention, (ids, entries, outcomes) in zip(self.attention, histories, strict=True):
            liked = tf.stack([outcomes, 1.0 - outcomes], axis=-1)
            read.append(attention(vector, tf.stop_gradient(entries), ids > 0, liked)[1])
        repeated = tf.repeat(request[:, None, :], tf.shape(vector)[1], axis=1)
        plain = tf.concat([repeated, numbers, *read], axis=-1)
        x = tf.concat([plain, self.dropout(vector, training=training)], axis=-1)
        for layer in self.hidden:
            x = self.dropout(layer(x), training=training)
        return self.out(tf.concat([x, plain], axis=-1) if self.hidden else x)[..., 0]

"""A candidate against the user's history."""

import tensorflow as tf

from trainer.inputs import FIRST_KNOWN

ABSENT = -1e9
"""Attention logit of padding."""


class TargetAttention(tf.keras.layers.Layer):
    """What of a history bears on a candidate: scaled dot-product attention with the candidate as the query.

    Candidate and entries are projected to keys; the weights are a softmax over the entries and one more slot that
    holds nothing, so that a history without anything like the candidate gives next to nothing. Each position has a
    learned bias, newest first.

    Args:
        length: most entries of the history.
        dimension: of the keys.
        seed: of the first weights.

    References:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, of which this is the
        dot-product form: one matrix product for a thousand candidates instead of a network for each pair.
    """

    def __init__(self, length: int, dimension: int, seed: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.project = tf.keras.layers.Dense(
            dimension, use_bias=False, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed)
        )
        self.position = self.add_weight(name="position", shape=(length,), initializer="zeros")

    def call(
        self, candidates: tf.Tensor, entries: tf.Tensor, present: tf.Tensor, facts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads each history for each of its candidates.

        Args:
            candidates: [n, k, dimension] vectors.
            entries: [n, length, dimension] vectors of the history, newest first.
            present: [n, length] bool, False for padding.
            facts: [n, length, facts] numbers about each entry, such as whether the user liked it.

        Returns:
            [n, k, dimension] and [n, k, facts], weighted sums of the entries and of the facts; zeros for an empty
            history.
        """
        keys = self.project(entries)
        logits = tf.matmul(self.project(candidates), keys, transpose_b=True) / float(self.dimension) ** 0.5
        logits = tf.where(present[:, None, :], logits + self.position, ABSENT)
        nothing = tf.zeros_like(logits[..., :1])
        weights = tf.nn.softmax(tf.concat([logits, nothing], axis=-1))[..., :-1]
        return tf.matmul(weights, entries), tf.matmul(weights, facts)


def history_outcomes(entries: tf.Tensor, positives: tf.Tensor) -> tf.Tensor:
    """Which entries of a history the user liked.

    Args:
        entries: [n, length] indices; 0 is padding.
        positives: [n, any length] indices of the latest things that the user liked; 0 is padding.

    Returns:
        [n, length] float32, 1 for an entry among the positives; 0 for others, padding and unknown items.
    """
    found = tf.reduce_any(tf.equal(entries[:, :, None], positives[:, None, :]), axis=2)
    return tf.cast(found & (entries >= FIRST_KNOWN), tf.float32)


def history_matches(keys: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
    """Whether, how often and how recently the candidate itself is in the history.

    Args:
        keys: [n, k] indices of the candidates.
        history: [n, length] indices, newest first; 0 is padding.

    Returns:
        [n, k, 2]: log(1 + count), and 1 / (1 + place of the newest), 0 where it is not there. Unknown items, which
        share an index, match nothing.
    """
    known = history[:, None, :] >= FIRST_KNOWN
    found = tf.cast(tf.equal(keys[:, :, None], history[:, None, :]) & known, tf.float32)
    recency = 1.0 / tf.range(1, tf.shape(history)[1] + 1, dtype=tf.float32)
    return tf.stack([tf.math.log1p(tf.reduce_sum(found, axis=2)), tf.reduce_max(found * recency, axis=2)], axis=-1)

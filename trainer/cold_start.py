"""Training on what cold items and users look like."""

from collections.abc import Mapping

import tensorflow as tf

from trainer.inputs import Encoded

UNKNOWN = 1
"""Index of an id that a vocabulary does not hold."""


def drop_ids(ids: tf.Tensor, share: float, seed: int) -> tf.Tensor:
    """Replaces some ids by the unknown one.

    Args:
        ids: int32 indices of a vocabulary, of any shape.
        share: of the ids, in [0, 1].
        seed: of the draw, which differs from step to step.
    """
    return tf.where(tf.random.uniform(tf.shape(ids), seed=seed) < share, UNKNOWN, ids)


def forget_users(query: Encoded, absent: Mapping[str, tf.Tensor], share: float, seed: int) -> Encoded:
    """Shows the users of some rows as ones without events.

    Args:
        query: encoded query features, [n, ...] each.
        absent: those of the features that come from events, as they are for a user without any, [1, ...] each.
        share: of the rows, in [0, 1].
        seed: of the draw, which differs from step to step.

    Returns:
        The features; a row keeps all that comes from events, or none of it.
    """
    if not share or not absent:
        return dict(query)
    rows = tf.shape(next(iter(query.values())))[0]
    forgotten = tf.random.uniform([rows], seed=seed) < share
    return {
        name: value
        if name not in absent
        else tf.where(tf.reshape(forgotten, [-1] + [1] * (len(value.shape) - 1)), absent[name], value)
        for name, value in query.items()
    }

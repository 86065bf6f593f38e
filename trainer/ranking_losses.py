"""Losses over the list of candidates that a request is trained on.

Every loss takes logits, labels and `usable`, [n, k] each: entry j of row i is a candidate of request i. Entries that
are not usable (padding, a drawn item that the user had) count for nothing, whatever their logits are.
"""

from collections.abc import Callable

import tensorflow as tf

ListLoss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

MASKED = -1e9
"""Logit of an entry that is not usable, in a softmax."""


def pointwise(logits: tf.Tensor, labels: tf.Tensor, usable: tf.Tensor) -> tf.Tensor:
    """Mean binary cross-entropy over the usable entries.

    Args:
        logits: [n, k].
        labels: [n, k] float32, 0 or 1.
        usable: [n, k] float32, 0 or 1.

    Returns:
        Scalar loss.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    return _mean(losses, usable)


def pairwise(logits: tf.Tensor, labels: tf.Tensor, usable: tf.Tensor) -> tf.Tensor:
    """Mean of log(1 + exp(s_negative - s_positive)) over the pairs of a positive and a negative of one request.

    Args:
        logits, labels, usable: as for `pointwise`.

    References:
        Burges et al., "Learning to Rank using Gradient Descent" (RankNet), ICML 2005.
    """
    wanted = (labels * usable)[:, :, None] * ((1.0 - labels) * usable)[:, None, :]
    return _mean(tf.nn.softplus(logits[:, None, :] - logits[:, :, None]), wanted)


def listwise(logits: tf.Tensor, labels: tf.Tensor, usable: tf.Tensor) -> tf.Tensor:
    """Mean softmax cross-entropy of the positives of each list; lists without one count for nothing.

    Args:
        logits, labels, usable: as for `pointwise`.

    References:
        Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach" (ListNet), ICML 2007.
    """
    positives = labels * usable
    totals = tf.reduce_sum(positives, axis=1)
    shares = positives / tf.maximum(totals, 1.0)[:, None]
    likelihoods = tf.nn.log_softmax(tf.where(usable > 0, logits, MASKED), axis=1)
    return _mean(-tf.reduce_sum(shares * likelihoods, axis=1), tf.cast(totals > 0, tf.float32))


def within_users(logits: tf.Tensor, labels: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
    """`pairwise` over the impressions of a batch that belong to one user: a smooth per-user AUC.

    Cross-entropy alone spends itself on what tells users apart, which no ranking of one user's items can use.
    Added to it, this makes the model tell apart what one user likes and what not.

    Args:
        logits: [n] of impressions.
        labels: [n] float32, 0 or 1.
        users: [n] int32, equal for impressions of one user.

    Returns:
        Scalar loss; 0 for a batch without such a pair.

    References:
        Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model", KDD 2023.
    """
    pairs = tf.equal(users[:, None], users[None, :]) & (labels[:, None] > labels[None, :])
    return _mean(tf.nn.softplus(logits[None, :] - logits[:, None]), tf.cast(pairs, tf.float32))


LOSSES: dict[str, ListLoss] = {"pointwise": pointwise, "pairwise": pairwise, "listwise": listwise}
"""By the name that a config gives them."""


def _mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)

"""Losses of retrieval: a query's own candidate against sampled ones."""

import tensorflow as tf
import tensorflow_recommenders as tfrs

MASKED = -1e9
"""Logit of a pair that may not count as a negative."""


def candidate_logits(
    queries: tf.Tensor, candidates: tf.Tensor, candidate_probability: tf.Tensor, candidate_ids: tf.Tensor
) -> tf.Tensor:
    """Scores of every query of a batch with every candidate, ready for a softmax.

    log Q is subtracted, so that candidates that are drawn often are not over-penalised, and negatives that are the
    query's own positive under another column are removed.

    Args:
        queries: [n, dimension] embeddings.
        candidates: [c, dimension] embeddings, c >= n; the positive of query i is candidate i, what comes after the
            n-th is a negative of all queries.
        candidate_probability: [c] with which a draw gives the candidate's item, in (0, 1].
        candidate_ids: [c] ids of the candidates' items.

    Returns:
        [n, c] logits.

    References:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """
    logits = tf.matmul(queries, candidates, transpose_b=True)
    logits = tfrs.layers.loss.SamplingProbablityCorrection()(logits, candidate_probability)
    own = tf.eye(tf.shape(logits)[0], tf.shape(logits)[1])
    return tfrs.layers.loss.RemoveAccidentalHits()(own, logits, candidate_ids)


def mixed_probability(in_batch: tf.Tensor, items: int, uniform_share: float) -> tf.Tensor:
    """How likely a draw gives an item, where some candidates come from the batch and the others from the catalogue.

    Args:
        in_batch: [c] share of each item among the positives; 0 for one that is never positive.
        items: of the catalogue, each as likely as the other in a uniform draw.
        uniform_share: of the candidates that are drawn uniformly, in [0, 1).

    Returns:
        [c] probabilities of the mixture.

    References:
        Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020.
    """
    return (1.0 - uniform_share) * in_batch + uniform_share / items


def mask_history(logits: tf.Tensor, candidate_ids: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
    """Removes the negatives that are in the query's history: serving filters them, so they need no low score.

    Args:
        logits: [n, c]; row i's positive is column i.
        candidate_ids: [c] ids of the columns, none of them 0.
        history: [n, length] ids; 0 is padding.

    Returns:
        Logits with `MASKED` at candidates of the history.
    """
    known = tf.reduce_any(tf.equal(history[:, :, None], candidate_ids[None, None, :]), axis=1)
    return tf.where(known & ~_diagonal(logits), MASKED, logits)


def softmax_loss(logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of each query's own candidate against the other columns.

    Args:
        logits: [n, c]; row i's positive is column i.

    Returns:
        Scalar loss.
    """
    labels = tf.range(tf.shape(logits)[0])
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def contrastive_loss(logits: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Symmetric InfoNCE: each query finds its candidate, and each candidate of the batch finds its query.

    Args:
        logits: [n, c] as of `candidate_logits`, masked; row i's positive is column i.
        scores: [n, n] plain scores of the batch. Queries are drawn evenly, so finding them needs no log Q.

    Returns:
        Scalar loss: the mean of both directions. What is masked in one is masked in the other.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    masked = logits[:, : tf.shape(logits)[0]] <= MASKED / 2
    back = tf.transpose(tf.where(masked, MASKED, scores))
    return (softmax_loss(logits) + softmax_loss(back)) / 2.0


def hard_negative_loss(positives: tf.Tensor, negatives: tf.Tensor, usable: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of each query's own candidate against the hard negatives mined for it.

    A softmax of its own: hard negatives are no draw of a known probability, and without log Q beside them the in-batch
    negatives would outweigh them by far.

    Args:
        positives: [n] scores.
        negatives: [n, h] scores.
        usable: [n, h] bool; False for a place that holds no negative.

    Returns:
        Scalar loss.
    """
    logits = tf.concat([positives[:, None], tf.where(usable, negatives, MASKED)], axis=1)
    return -tf.reduce_mean(tf.nn.log_softmax(logits)[:, 0])


def _diagonal(logits: tf.Tensor) -> tf.Tensor:
    return tf.eye(tf.shape(logits)[0], tf.shape(logits)[1], dtype=tf.bool)

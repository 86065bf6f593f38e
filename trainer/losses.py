"""Sampled softmax over the candidates of a batch."""

import tensorflow as tf
import tensorflow_recommenders as tfrs

MASKED = -1e9
"""Logit of a pair that may not count as a negative."""


def in_batch_logits(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    candidate_probability: tf.Tensor,
    candidate_ids: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """Scores of every query of a batch with every candidate of it.

    log Q is subtracted, so that popular in-batch negatives are not over-penalised, and negatives that are the query's
    own positive under another row of the batch are removed.

    Args:
        queries, candidates: [n, dimension] embeddings; row i's positive is candidate i.
        candidate_probability: [n] share of each candidate's item among the positives, in (0, 1].
        candidate_ids: [n] ids of the candidates' items.
        temperature: divides the scores.

    Returns:
        [n, n] logits.

    References:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """
    logits = tf.matmul(queries, candidates, transpose_b=True) / temperature
    logits = tfrs.layers.loss.SamplingProbablityCorrection()(logits, candidate_probability)
    return tfrs.layers.loss.RemoveAccidentalHits()(tf.eye(tf.shape(logits)[0]), logits, candidate_ids)


def mask_history(logits: tf.Tensor, candidate_ids: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
    """Removes the negatives that are in the query's history: serving filters them, so they need no low score.

    Args:
        logits: [num_queries, num_queries]; row i's positive is column i.
        candidate_ids: [num_queries] ids of the columns, none of them 0.
        history: [num_queries, length] ids; 0 is padding.

    Returns:
        Logits with `MASKED` at candidates of the history.
    """
    known = tf.reduce_any(tf.equal(history[:, :, None], candidate_ids[None, None, :]), axis=1)
    return tf.where(known & ~_diagonal(logits), MASKED, logits)


def in_batch_softmax(logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of each query's own candidate against the others of the batch.

    Args:
        logits: [num_queries, num_queries]; row i's positive is column i.

    Returns:
        Scalar loss.
    """
    labels = tf.range(tf.shape(logits)[0])
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _diagonal(logits: tf.Tensor) -> tf.Tensor:
    return tf.eye(tf.shape(logits)[0], dtype=tf.bool)

"""Sampled softmax over the candidates of a batch."""

import tensorflow as tf

MASKED = -1e9
"""Logit of a pair that may not count as a negative."""


def correct_sampling_bias(logits: tf.Tensor, candidate_probability: tf.Tensor) -> tf.Tensor:
    """Subtracts log Q, so that popular in-batch negatives are not over-penalised.

    Args:
        logits: [num_queries, num_candidates] float32 scores.
        candidate_probability: [num_candidates], each in (0, 1].

    Returns:
        [num_queries, num_candidates] corrected logits.

    Raises:
        ValueError: if the num_candidates dimensions differ.

    References:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """
    if logits.shape[-1] is not None and not logits.shape[-1:].is_compatible_with(candidate_probability.shape):
        raise ValueError(
            "`candidate_probability` should have one entry a candidate. "
            f"Received: logits of shape {logits.shape}, probabilities of shape {candidate_probability.shape}."
        )
    return logits - tf.math.log(candidate_probability)[None, :]


def mask_accidental_hits(logits: tf.Tensor, candidate_ids: tf.Tensor) -> tf.Tensor:
    """Removes the negatives that are the query's own positive under another row of the batch.

    Args:
        logits: [num_queries, num_queries]; row i's positive is column i.
        candidate_ids: [num_queries] ids of the columns.

    Returns:
        Logits with `MASKED` at the accidental hits.
    """
    same = tf.equal(candidate_ids[:, None], candidate_ids[None, :])
    return tf.where(same & ~_diagonal(logits), MASKED, logits)


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

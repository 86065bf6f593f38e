"""Losses of the two-tower model, over the candidates of a batch.

The logits are [n, columns]: row i's positive is column i; columns from n on are sampled items, negatives of every row.
"""

import tensorflow as tf
import tensorflow_recommenders as tfrs

MASKED = -1e9
"""Logit of a pair that may not count as a negative."""


def candidate_logits(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    candidate_probability: tf.Tensor | None,
    candidate_ids: tf.Tensor,
) -> tf.Tensor:
    """Scores of every query of a batch with every candidate of it.

    log Q is subtracted, so that items that are often among the candidates are not over-penalised, and negatives that
    are the same item as the row's positive are removed.

    Args:
        queries: [n, dimension] embeddings.
        candidates: [columns, dimension] embeddings; row i's positive is candidate i.
        candidate_probability: [columns] share of each candidate's item among the candidates of all batches, in (0, 1];
            None for no correction.
        candidate_ids: [columns] ids of the candidates' items.

    Returns:
        [n, columns] logits.

    References:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """
    logits = tf.matmul(queries, candidates, transpose_b=True)
    if candidate_probability is not None:
        logits = tfrs.layers.loss.SamplingProbablityCorrection()(logits, candidate_probability)
    labels = tf.eye(tf.shape(queries)[0], tf.shape(candidates)[0])
    return tfrs.layers.loss.RemoveAccidentalHits()(labels, logits, candidate_ids)


def mixed_probability(share: tf.Tensor, sampled_per_row: int, items: int) -> tf.Tensor:
    """How often an item is among the candidates when each positive brings some items drawn uniformly.

    Args:
        share: [columns] share of each candidate's item among the positives.
        sampled_per_row: items drawn for each positive.
        items: size of the catalogue they are drawn from.

    Returns:
        [columns] in (0, 1].

    References:
        Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020.
    """
    return (share + sampled_per_row / items) / (1.0 + sampled_per_row)


def mask_history(logits: tf.Tensor, candidate_ids: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
    """Removes the negatives that are in the query's history: serving filters them, so they need no low score.

    Args:
        logits: [n, columns]; row i's positive is column i.
        candidate_ids: [columns] ids, none of them 0.
        history: [n, length] ids; 0 is padding.

    Returns:
        Logits with `MASKED` at candidates of the history.
    """
    known = tf.reduce_any(tf.equal(history[:, :, None], candidate_ids[None, None, :]), axis=1)
    positive = tf.eye(tf.shape(logits)[0], tf.shape(logits)[1]) > 0
    return tf.where(known & ~positive, MASKED, logits)


def sampled_softmax(logits: tf.Tensor, own: tf.Tensor | None = None) -> tf.Tensor:
    """Mean cross-entropy of each query's own candidate against the others.

    Args:
        logits: [n, columns]; row i's positive is column i.
        own: [n, h] logits of negatives that count for their own row alone; None for none.

    Returns:
        Scalar loss.
    """
    labels = tf.range(tf.shape(logits)[0])
    every = logits if own is None else tf.concat([logits, own], axis=1)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, every))


def symmetric_contrast(logits: tf.Tensor, own: tf.Tensor | None = None) -> tf.Tensor:
    """Mean of both directions: each query against the candidates, and each positive against the queries.

    Args:
        logits: [n, columns]; row i's positive is column i; a masked pair counts in neither direction.
        own: as for `sampled_softmax`; they count in the first direction.

    Returns:
        Scalar loss.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    square = logits[:, : tf.shape(logits)[0]]
    return (sampled_softmax(logits, own) + sampled_softmax(tf.transpose(square))) / 2.0

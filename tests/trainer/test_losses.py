import numpy as np
import pytest
import tensorflow as tf

from trainer.losses import candidate_logits, mask_history, mixed_probability, sampled_softmax, symmetric_contrast

LOWEST = -1e8


def logits_of(queries, candidates, probability=None, ids=None):
    probability = None if probability is None else tf.constant(probability)
    ids = list(range(len(candidates))) if ids is None else ids
    return candidate_logits(tf.constant(queries), tf.constant(candidates), probability, tf.constant(ids)).numpy()


def test_scores_are_dot_products_with_positives_and_sampled_items():
    logits = logits_of([[1.0, 2.0], [0.0, 1.0]], [[1.0, 1.0], [3.0, 0.0], [0.0, 4.0]])
    assert logits.tolist() == [[3.0, 3.0, 8.0], [1.0, 0.0, 4.0]]


def test_log_q_lifts_rare_candidates():
    logits = logits_of([[1.0], [0.0]], [[1.0], [1.0]], probability=[0.5, 0.25])
    assert logits == pytest.approx(np.array([[1 + np.log(2), 1 + np.log(4)], [np.log(2), np.log(4)]]))


def test_accidental_hits_are_masked_but_no_row_loses_its_own_positive():
    zeros = np.zeros([3, 1], np.float32), np.zeros([4, 1], np.float32)
    masked = logits_of(*zeros, ids=[7, 8, 7, 8]) < LOWEST
    # Column 3 is a sampled item: the positive of row 1.
    assert masked.tolist() == [
        [False, False, True, False],
        [False, False, False, True],
        [True, False, False, False],
    ]


def test_history_is_masked_but_padding_and_the_own_positive_are_not():
    history = tf.constant([[8, 0], [0, 0], [9, 7]])
    masked = mask_history(tf.zeros([3, 4]), tf.constant([7, 8, 9, 7]), history).numpy() < LOWEST
    # Column 3 is a sampled item.
    assert masked.tolist() == [
        [False, True, False, False],
        [False, False, False, False],
        [True, False, False, True],
    ]


def test_sampled_softmax_is_the_mean_cross_entropy_of_the_diagonal():
    # Row 0: -log(3 / (3 + 1)); row 1: -log(1 / (1 + 1)).
    loss = float(sampled_softmax(tf.math.log(tf.constant([[3.0, 1.0], [1.0, 1.0]]))))
    assert loss == pytest.approx((np.log(4 / 3) + np.log(2)) / 2, rel=1e-6)


def test_a_masked_negative_adds_nothing_to_the_loss():
    # Without the mask each row's own candidate, scored 0 against 5, would cost about 5.
    logits = logits_of([[0.0, 5.0], [5.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], ids=[7, 7])
    assert float(sampled_softmax(tf.constant(logits))) == pytest.approx(0.0, abs=1e-6)


def test_own_negatives_count_for_their_row_alone():
    logits, own = tf.zeros([2, 2]), tf.math.log(tf.constant([[1.0, 2.0], [1e-9, 1e-9]]))
    # Row 0: -log(1 / (1 + 1 + 1 + 2)); row 1: -log(1 / 2).
    assert float(sampled_softmax(logits, own)) == pytest.approx((np.log(5) + np.log(2)) / 2, rel=1e-6)


def test_the_probability_of_a_mixture_weighs_both_ways_of_becoming_a_candidate():
    # Of 8 candidates a positive brings one and 3 drawn of 10 items: (0.2 + 3 / 10) / 4 and (0 + 3 / 10) / 4.
    assert mixed_probability(tf.constant([0.2, 0.0]), 3, 10).numpy() == pytest.approx([0.125, 0.075])
    assert mixed_probability(tf.constant([0.2]), 0, 10).numpy() == pytest.approx([0.2])


def test_contrast_is_the_mean_of_both_directions_and_a_mask_holds_in_both():
    # Rows: 3 / (3 + 1) and 1 / (1 + 2); columns: 3 / (3 + 2) and 1 / (1 + 1). The sampled column counts for rows only.
    logits = tf.math.log(tf.constant([[3.0, 1.0, 1e-30], [2.0, 1.0, 1e-30]]))
    expected = (np.log(4 / 3) + np.log(3) + np.log(5 / 3) + np.log(2)) / 4
    assert float(symmetric_contrast(logits)) == pytest.approx(expected, rel=1e-6)
    masked = logits_of([[0.0, 5.0], [5.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], ids=[7, 7])
    assert float(symmetric_contrast(tf.constant(masked))) == pytest.approx(0.0, abs=1e-6)

import numpy as np
import pytest
import tensorflow as tf

from trainer.losses import correct_sampling_bias, in_batch_softmax, mask_accidental_hits, mask_history

LOWEST = -1e8


def test_log_q_lifts_rare_candidates():
    logits = tf.constant([[1.0, 1.0], [0.0, 2.0]])
    corrected = correct_sampling_bias(logits, tf.constant([0.5, 0.25])).numpy()
    assert corrected == pytest.approx(np.array([[1 + np.log(2), 1 + np.log(4)], [np.log(2), 2 + np.log(4)]]))


def test_log_q_is_refused_when_it_has_another_number_of_candidates():
    with pytest.raises(ValueError, match=r"candidate_probability.*Received"):
        correct_sampling_bias(tf.zeros([2, 3]), tf.constant([0.5, 0.5]))


def test_accidental_hits_are_masked_but_no_row_loses_its_own_positive():
    masked = mask_accidental_hits(tf.zeros([3, 3]), tf.constant([7, 8, 7])).numpy() < LOWEST
    assert masked.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_history_is_masked_but_padding_and_the_own_positive_are_not():
    history = tf.constant([[8, 0], [0, 0], [9, 7]])
    masked = mask_history(tf.zeros([3, 3]), tf.constant([7, 8, 9]), history).numpy() < LOWEST
    assert masked.tolist() == [[False, True, False], [False, False, False], [True, False, False]]


def test_in_batch_softmax_is_the_mean_cross_entropy_of_the_diagonal():
    # Row 0: -log(3 / (3 + 1)); row 1: -log(1 / (1 + 1)).
    loss = float(in_batch_softmax(tf.math.log(tf.constant([[3.0, 1.0], [1.0, 1.0]]))))
    assert loss == pytest.approx((np.log(4 / 3) + np.log(2)) / 2, rel=1e-6)


def test_a_masked_negative_adds_nothing_to_the_loss():
    logits = tf.constant([[0.0, 5.0], [5.0, 0.0]])
    assert float(in_batch_softmax(mask_accidental_hits(logits, tf.constant([7, 7])))) == pytest.approx(0.0, abs=1e-6)

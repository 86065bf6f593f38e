import numpy as np
import pytest
import tensorflow as tf

from trainer.losses import in_batch_logits, in_batch_softmax, mask_history

LOWEST = -1e8


def logits_of(queries, candidates, probability=None, ids=None, temperature=1.0):
    count = len(queries)
    probability = [1.0] * count if probability is None else probability
    ids = list(range(count)) if ids is None else ids
    return in_batch_logits(
        tf.constant(queries), tf.constant(candidates), tf.constant(probability), tf.constant(ids), temperature
    ).numpy()


def test_scores_are_dot_products_divided_by_the_temperature():
    logits = logits_of([[1.0, 2.0], [0.0, 1.0]], [[1.0, 1.0], [3.0, 0.0]], temperature=0.5)
    assert logits.tolist() == [[6.0, 6.0], [2.0, 0.0]]


def test_log_q_lifts_rare_candidates():
    logits = logits_of([[1.0], [0.0]], [[1.0], [1.0]], probability=[0.5, 0.25])
    assert logits == pytest.approx(np.array([[1 + np.log(2), 1 + np.log(4)], [np.log(2), np.log(4)]]))


def test_accidental_hits_are_masked_but_no_row_loses_its_own_positive():
    masked = logits_of(np.zeros([3, 1], np.float32), np.zeros([3, 1], np.float32), ids=[7, 8, 7]) < LOWEST
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
    # Without the mask each row's own candidate, scored 0 against 5, would cost about 5.
    logits = logits_of([[0.0, 5.0], [5.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], ids=[7, 7])
    assert float(in_batch_softmax(tf.constant(logits))) == pytest.approx(0.0, abs=1e-6)

import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.ranking_losses import LOSSES, listwise, pairwise, pointwise, within_users


def loss(function, *arrays):
    return float(function(*(tf.constant(array, tf.float32) for array in arrays)))


LOGITS = [[math.log(3), 0.0, 0.0]]
LABELS = [[1, 0, 0]]
ALL = [[1, 1, 1]]


def test_pointwise_is_the_mean_cross_entropy():
    # sigmoid(log 3) = 3/4; sigmoid(0) = 1/2.
    assert loss(pointwise, LOGITS, LABELS, ALL) == pytest.approx((math.log(4 / 3) + 2 * math.log(2)) / 3)


def test_pairwise_is_the_mean_over_pairs_of_a_positive_and_a_negative():
    # The positive is log 3 above both negatives: log(1 + 1/3).
    assert loss(pairwise, LOGITS, LABELS, ALL) == pytest.approx(math.log(4 / 3))


def test_listwise_is_the_softmax_cross_entropy():
    # exp(logits) are 3, 1 and 1: the positive's share is 3/5.
    assert loss(listwise, LOGITS, LABELS, ALL) == pytest.approx(math.log(5 / 3))


def test_listwise_shares_the_target_among_positives():
    # exp(logits) are 3, 1 and 1; half of the target each.
    assert loss(listwise, LOGITS, [[1, 1, 0]], ALL) == pytest.approx((math.log(5 / 3) + math.log(5)) / 2)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_an_unusable_entry_counts_for_nothing(name, label):
    bare = loss(LOSSES[name], [[1.0, -0.5]], [[1, 0]], [[1, 1]])
    padded = loss(LOSSES[name], [[1.0, -0.5, 3.0]], [[1, 0, label]], [[1, 1, 0]])
    assert padded == pytest.approx(bare)


@pytest.mark.parametrize("name", ["pairwise", "listwise"])
def test_a_list_without_positives_counts_for_nothing(name):
    alone = loss(LOSSES[name], LOGITS, LABELS, ALL)
    assert loss(LOSSES[name], LOGITS + [[5.0, 1.0, 2.0]], LABELS + [[0, 0, 0]], ALL * 2) == pytest.approx(alone)
    assert loss(LOSSES[name], LOGITS, [[0, 0, 0]], ALL) == 0.0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_finite_when_nothing_is_usable(name):
    logits = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        value = LOSSES[name](logits, tf.constant([[1.0, 0.0]]), tf.zeros([1, 2]))
    assert np.isfinite(tape.gradient(value, logits).numpy()).all()


def test_within_users_compares_no_two_users():
    logits = tf.constant([math.log(3), 0.0, 50.0, -50.0])
    labels = tf.constant([1.0, 0.0, 0.0, 1.0])
    # Users 7 and 8 have a pair each: log(1 + 1/3) and log(1 + exp(100)) = 100.
    assert float(within_users(logits, labels, tf.constant([7, 7, 8, 8]))) == pytest.approx((math.log(4 / 3) + 100) / 2)
    assert float(within_users(logits, labels, tf.constant([7, 7, 8, 9]))) == pytest.approx(math.log(4 / 3))
    assert float(within_users(logits, labels, tf.constant([1, 2, 3, 4]))) == 0.0

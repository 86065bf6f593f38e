import numpy as np
import pytest
import tensorflow as tf

from trainer.rankers.attention import TargetAttention, history_matches, history_outcomes


@pytest.fixture
def attention():
    layer = TargetAttention(length=3, dimension=2, seed=0)
    layer(tf.zeros([1, 1, 2]), tf.zeros([1, 3, 2]), tf.ones([1, 3], tf.bool), tf.zeros([1, 3, 1]))
    layer.project.kernel.assign(np.eye(2) * 2**0.25)
    return layer


def read(layer, candidates, entries, present, liked):
    facts = tf.stack([tf.constant(liked, tf.float32), 1 - tf.constant(liked, tf.float32)], axis=-1)
    found, weights = layer(
        tf.constant(candidates, tf.float32),
        tf.constant(entries, tf.float32),
        tf.constant(present),
        facts,
    )
    return found.numpy(), weights.numpy()


def test_entries_weigh_by_their_likeness_to_the_candidate(attention):
    # Keys are scaled so that logits are plain dot products: log 4 and 0; the empty slot has 0 as well.
    found, weights = read(
        attention, [[[np.log(4), 0.0]]], [[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]], [[True, True, False]], [[1, 0, 1]]
    )
    assert found == pytest.approx(np.array([[[4 / 6, 1 / 6]]]))
    assert weights == pytest.approx(np.array([[[4 / 6, 1 / 6]]]))


def test_each_candidate_reads_the_history_for_itself(attention):
    _, weights = read(
        attention,
        [[[np.log(4), 0.0], [0.0, np.log(4)]]],
        [[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]],
        [[True, True, False]],
        [[1, 0, 0]],
    )
    assert weights == pytest.approx(np.array([[[4 / 6, 1 / 6], [1 / 6, 4 / 6]]]))


def test_padding_changes_nothing_whatever_it_holds(attention):
    arguments = ([[True, False, False]], [[1, 0, 0]])
    one = read(attention, [[[1.0, 2.0]]], [[[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]], *arguments)
    other = read(attention, [[[1.0, 2.0]]], [[[1.0, 0.0], [5.0, 5.0], [-5.0, 5.0]]], *arguments)
    assert one[0] == pytest.approx(other[0])
    assert one[1] == pytest.approx(other[1])


def test_an_empty_history_reads_as_zeros(attention):
    found, weights = read(attention, [[[1.0, 2.0]]], [[[3.0, 3.0]] * 3], [[False] * 3], [[0, 0, 0]])
    assert not found.any()
    assert not weights.any()


def test_liked_are_the_entries_among_the_positives():
    found = history_outcomes(tf.constant([[5, 3, 4, 0, 1]]), tf.constant([[4, 5, 0, 1]]))
    # Neither padding (0) nor an unknown item (1), which all unknown items share, is known to be liked.
    assert found.numpy().tolist() == [[1, 0, 1, 0, 0]]


def test_matches_count_the_candidate_in_the_history_and_place_the_newest():
    found = history_matches(tf.constant([[7, 5, 9]]), tf.constant([[5, 7, 7, 0]]))
    assert found.numpy() == pytest.approx(np.array([[[np.log(3), 1 / 2], [np.log(2), 1.0], [0.0, 0.0]]]))


@pytest.mark.parametrize("index", [0, 1])
def test_neither_padding_nor_unknown_items_match_a_candidate(index):
    found = history_matches(tf.constant([[index]]), tf.constant([[index, 5]]))
    assert not found.numpy().any()

import numpy as np
import pytest
import tensorflow as tf

from trainer.rankers.liking import LikingNetwork


@pytest.fixture
def network():
    made = LikingNetwork(lengths=[3], dimension=2, hidden_units=(), dropout=0.5, seed=0)
    ask(made)
    # Every item is taken to be liked half of the time.
    made.quality.set_weights([np.zeros((2, 1)), np.zeros(1)])
    return made


def ask(network, ids=((5, 6, 0),), outcomes=((1.0, 0.0, 0.0),), entries=None, vector=((1.0, 0.0),)):
    entries = [[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]] if entries is None else entries
    return network(
        tf.constant([[0.25]]),
        tf.constant([vector]),
        tf.constant([[[2.0]] * len(vector)]),
        [(tf.constant(ids), tf.constant(entries), tf.constant(outcomes))],
    ).numpy()


def weigh(network, column):
    """Makes the logit one of: request, leniency, number, liked weight, other weight, weight of the excess, vector."""
    kernel = np.zeros((8, 1), np.float32)
    kernel[column] = 1.0
    network.out.set_weights([kernel, np.zeros(1)])


@pytest.mark.parametrize(("column", "expected"), [(0, 0.25), (2, 2.0), (6, 1.0), (7, 0.0)])
def test_the_network_reads_request_numbers_and_vector(network, column, expected):
    weigh(network, column)
    assert ask(network).item() == pytest.approx(expected)


def test_leniency_is_the_shrunken_excess_of_likes_over_quality(network):
    weigh(network, 1)
    # Excesses 1/2 and -1/2; then 1/2 of one entry, with ten more of none.
    assert ask(network).item() == pytest.approx(0.0)
    assert ask(network, ids=((5, 0, 0),)).item() == pytest.approx(0.5 / 11)


def test_padding_is_neither_an_entry_nor_an_excess(network):
    for column in (1, 3, 4, 5):
        weigh(network, column)
        other = [[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]
        assert ask(network, entries=other).item() == pytest.approx(ask(network).item())
        assert ask(network, outcomes=((1.0, 0.0, 1.0),)).item() == pytest.approx(ask(network).item())


def test_attention_tells_what_resembles_the_candidate_was_liked_or_not(network):
    network.attention[0].project.kernel.assign(np.eye(2) * 2**0.25)
    vector = ((float(np.log(4)), 0.0),)
    # Logits log 4 and 0, and 0 for the empty slot: weights 4/6 and 1/6.
    for column, expected in ((3, 4 / 6), (4, 1 / 6), (5, (4 / 6 - 1 / 6) / 2)):
        weigh(network, column)
        assert ask(network, vector=vector).item() == pytest.approx(expected)

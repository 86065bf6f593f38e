import numpy as np
import pytest
import tensorflow as tf

from trainer.rankers.liking import LikingNetwork


@pytest.fixture
def network():
    made = LikingNetwork(lengths=[3], dimension=2, hidden_units=(), dropout=0.5, seed=0)
    ask(made)
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
    """Makes the logit one of: request, number, liked weight, other weight, the vector's two coordinates."""
    kernel = np.zeros((6, 1), np.float32)
    kernel[column] = 1.0
    network.out.set_weights([kernel, np.zeros(1)])


@pytest.mark.parametrize(("column", "expected"), [(0, 0.25), (1, 2.0), (4, 1.0), (5, 0.0)])
def test_the_network_reads_request_numbers_and_vector(network, column, expected):
    weigh(network, column)
    assert ask(network).item() == pytest.approx(expected)


def test_padding_is_no_entry(network):
    for column in (2, 3):
        weigh(network, column)
        other = [[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]
        assert ask(network, entries=other).item() == pytest.approx(ask(network).item())
        assert ask(network, outcomes=((1.0, 0.0, 1.0),)).item() == pytest.approx(ask(network).item())


def test_attention_tells_what_resembles_the_candidate_was_liked_or_not(network):
    network.attention[0].project.kernel.assign(np.eye(2) * 2**0.25)
    vector = ((float(np.log(4)), 0.0),)
    # Logits log 4 and 0, and 0 for the empty slot: weights 4/6 and 1/6.
    for column, expected in ((2, 4 / 6), (3, 1 / 6)):
        weigh(network, column)
        assert ask(network, vector=vector).item() == pytest.approx(expected)

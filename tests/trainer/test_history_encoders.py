import numpy as np
import pytest
import tensorflow as tf

from trainer.config import RetrievalConfig
from trainer.history_encoders import make_history_encoder


@pytest.fixture(params=["pooling", "gru", "self_attention"])
def encoder(request):
    config = RetrievalConfig(history_encoder=request.param, embedding_dimension=4, history_pools=2, attention_blocks=2)
    return make_history_encoder(config, length=5, seed=3)


def entries(rows, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(rows, 5, 4)), tf.float32)


def test_an_empty_history_is_zeros(encoder):
    found = encoder(entries(2), tf.zeros([2, 5], tf.bool)).numpy()
    assert found.shape[0] == 2 and found.shape[2] == 4
    assert not found.any()


def test_what_padding_holds_makes_no_difference(encoder):
    present = tf.constant([[True, True, False, False, False]])
    one = entries(1)
    other = tf.where(present[..., None], one, 9.0)
    assert encoder(one, present).numpy() == pytest.approx(encoder(other, present).numpy(), abs=1e-6)
    # And what it does hold makes one.
    changed = tf.concat([one[:, :1], one[:, 1:2] * -2.0, one[:, 2:]], axis=1)
    assert np.abs(encoder(one, present).numpy() - encoder(changed, present).numpy()).max() > 1e-3


def test_the_order_of_the_entries_matters(encoder):
    present = tf.ones([1, 5], tf.bool)
    one = entries(1)
    assert np.abs(encoder(one, present).numpy() - encoder(one[:, ::-1], present).numpy()).max() > 1e-3


def test_rows_do_not_see_each_other(encoder):
    both, present = entries(2), tf.ones([2, 5], tf.bool)
    assert encoder(both, present).numpy()[1:] == pytest.approx(encoder(both[1:], present[1:]).numpy(), abs=1e-6)


def test_a_gru_reads_the_newest_entry_last():
    config = RetrievalConfig(history_encoder="gru", embedding_dimension=4)
    gru = make_history_encoder(config, length=5, seed=3)
    present = tf.constant([[True, True, False, False, False]])
    one = entries(1)
    gru(one, present)
    cell = gru.recurrent.cell
    state = tf.zeros([1, 4])
    for place in (1, 0):
        state, _ = cell(one[:, place], [state])
    assert gru(one, present).numpy()[:, 0] == pytest.approx(state.numpy(), abs=1e-6)

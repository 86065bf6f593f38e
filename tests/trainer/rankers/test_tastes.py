import numpy as np
import pytest
import tensorflow as tf

from feature_repo.spec import FeatureSpec
from trainer.inputs import Preprocessing
from trainer.rankers.tastes import Tastes

SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {
                "name": "share_by_tag",
                "kind": "embedding",
                "length": 3,
                "source": {"aggregate": "share", "of": "positive", "by": "tags", "values": ["sad", "funny", "unheard"]},
            }
        ],
        "item": [
            {"name": "tags", "kind": "sequence", "length": 3, "source": {"column": "tags"}},
            {"name": "colour", "kind": "categorical", "source": {"column": "colour"}},
        ],
    }
)


@pytest.fixture
def tastes():
    preprocessing = Preprocessing((*SPEC.user, *SPEC.item), {"tags": ["funny", "new", "sad"], "colour": ["red"]}, {})
    return Tastes(SPEC.user, SPEC.item, preprocessing), preprocessing


def test_an_item_matches_by_the_mean_share_of_its_values(tastes):
    found, preprocessing = tastes
    assert [(share.name, attribute.name) for share, attribute in found.pairs] == [("share_by_tag", "tags")]
    encoded = preprocessing(
        {
            "share_by_tag": tf.constant([[0.5, 0.3, 0.2]]),
            "tags": tf.constant([["sad", "", ""], ["funny", "sad", ""], ["new", "", ""], ["", "", ""]]),
        }
    )
    items = found.of_items(encoded)
    assert items.numpy() == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]]))
    matched = found.match(found.of_requests(encoded), items[None])
    assert matched.numpy()[..., 0] == pytest.approx(np.array([[0.5, 0.4, 0.0, 0.0]]))


def test_an_unknown_value_matches_no_share(tastes):
    found, preprocessing = tastes
    # `unheard` is a value of the share that the vocabulary lacks; both are "unknown" to it.
    items = found.of_items(preprocessing({"tags": tf.constant([["unseen", "", ""]])}))
    assert not items.numpy().any()


def test_a_category_matches_as_a_set_of_one():
    spec = SPEC.model_dump()
    spec["user"][0]["source"]["by"] = "colour"
    spec["user"][0]["source"]["values"] = ("red", "green", "blue")
    spec = FeatureSpec.model_validate(spec)
    preprocessing = Preprocessing((*spec.user, *spec.item), {"tags": ["odd"], "colour": ["green", "red"]}, {})
    found = Tastes(spec.user, spec.item, preprocessing)
    items = found.of_items(preprocessing({"colour": tf.constant(["red", "green", "", "pink"])}))
    assert items.numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]

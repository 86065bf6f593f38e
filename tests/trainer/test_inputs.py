import numpy as np
import pytest

from feature_repo.errors import ConfigError
from feature_repo.spec import Feature
from trainer.inputs import Preprocessing
from trainer.vocabularies import InputStatistics


def feature(name, kind, transform=None, source=None, **more):
    return Feature.model_validate(
        {"name": name, "kind": kind, "source": source or {"column": name}, "transform": transform, **more}
    )


def strings(*values):
    return np.array(values, object)


def learned(features, rows, timestamps=None):
    """What is learned of the rows, given two at a time."""
    statistics = InputStatistics(features)
    size = len(next(iter(rows.values())))
    at = np.zeros(size, np.int64) if timestamps is None else timestamps
    for start in range(0, size, 2):
        here = slice(start, start + 2)
        statistics.add({name: values[here] for name, values in rows.items()}, at[here])
    return statistics


ITEM = feature("item_id", "categorical")
HISTORY = feature("last", "sequence", {"type": "vocabulary", "of": "item_id"}, {"aggregate": "last"}, length=3)


def test_vocabulary_keeps_the_most_frequent_values_when_it_is_full():
    color = feature("color", "categorical", {"type": "vocabulary", "max_size": 2})
    rows = {"color": strings("red", "blue", "blue", "green", "green", "")}
    assert learned([color], rows).vocabularies() == {"color": ["blue", "green"]}


def test_vocabulary_tells_nothing_from_unknown_from_known():
    encode = Preprocessing([ITEM], {"item_id": ["b", "a"]}, {}).encode
    assert encode({"item_id": strings("", "never seen", "b", "a")})["item_id"].tolist() == [0, 1, 2, 3]


def test_a_vocabulary_without_values_knows_nothing():
    color = feature("color", "categorical")
    encode = Preprocessing([color], {"color": []}, {}).encode
    assert encode({"color": strings("", "red")})["color"].tolist() == [0, 1]


def test_history_reads_the_vocabulary_it_shares():
    preprocessing = Preprocessing([ITEM, HISTORY], {"item_id": ["b", "a"]}, {})
    assert preprocessing.encode({"last": np.array([["a", "b", ""]], object)})["last"].tolist() == [[3, 2, 0]]
    assert preprocessing.sizes == {"item_id": 4}


def test_history_is_refused_when_the_model_lacks_the_shared_vocabulary():
    with pytest.raises(ConfigError, match="used_by"):
        Preprocessing([HISTORY], {}, {})


def test_hash_keeps_zero_for_nothing():
    color = feature("color", "categorical", {"type": "hash", "buckets": 5})
    encoded = Preprocessing([color], {}, {}).encode({"color": strings("", *"abcdefgh")})["color"]
    assert encoded[0] == 0
    assert encoded[1:].min() >= 1 and encoded.max() <= 5


def test_tokens_ignore_case_and_punctuation_and_are_padded():
    title = feature("title", "text")
    encoded = Preprocessing([title], {}, {}).encode({"title": strings("Ocean's Eleven!", "oceans eleven", "")})["title"]
    assert encoded[0].tolist() == encoded[1].tolist()
    assert (encoded[0] > 0).sum() == 2
    assert not encoded[2].any()


def test_log_is_standardised_by_the_training_rows():
    count = feature("count", "numeric", {"type": "log"})
    rows = {"count": np.array([0.0, np.e**2 - 1], np.float32)}
    moments = learned([count], rows, np.zeros(2, np.int64)).moments()
    assert moments["count"] == pytest.approx((1.0, 1.0), abs=1e-6)
    encoded = Preprocessing([count], {}, moments).encode({"count": np.array([np.e - 1, -5.0], np.float32)})["count"]
    assert encoded == pytest.approx([0.0, -1.0], abs=1e-6)


def test_standardise_does_not_divide_by_the_deviation_of_a_constant():
    age = feature("age", "numeric")
    moments = learned([age], {"age": np.array([30.0, 30.0])}, np.zeros(2, np.int64)).moments()
    assert Preprocessing([age], {}, moments).encode({"age": np.array([31.0], np.float32)})["age"].tolist() == [1.0]


def test_elapsed_is_capped_and_never_counts_as_the_cap():
    last = feature("last_at", "timestamp", {"type": "elapsed", "cap_days": 1}, {"aggregate": "last_timestamp"})
    at = np.array([1_000_000] * 4, np.int64)
    values = np.array([1_000_000 - 100, 0, 1, 1_000_050], np.int64)
    encoded = Preprocessing([last], {}, {}).encode({"last_at": values}, at)["last_at"]
    assert encoded == pytest.approx([np.log(101), np.log(86_401), np.log(86_401), 0.0], rel=1e-6)
    moments = learned([last], {"last_at": values}, at).moments()
    assert moments["last_at"][0] == pytest.approx((np.log(101) + 2 * np.log(86_401)) / 4)


def test_elapsed_is_refused_where_there_is_no_request():
    last = feature("last_at", "timestamp", {"type": "elapsed"}, {"aggregate": "last_timestamp"})
    with pytest.raises(ConfigError, match=r"\[ranking\]"):
        Preprocessing([last], {}, {}).encode({"last_at": np.array([5], np.int64)})

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.build_features.item_vectors import item_texts, write_item_vectors
from components.build_features.vector_cache import encode_once
from feature_repo.columns import to_arrays
from feature_repo.errors import DataError
from feature_repo.item_vectors import read_item_vectors
from feature_repo.spec import FeatureSpec

TEXT = {"name": "content", "kind": "embedding", "length": 384, "source": {"embed": ["title", "tags"]}}
IMAGE = {"name": "image", "kind": "embedding", "length": 2, "source": {"column": "pixels"}}
USER = {"name": "age", "kind": "numeric", "source": {"column": "age"}}


class Recorder:
    """An encoder whose vectors are the length of the text, then ones; it remembers what it was asked."""

    def __init__(self, name: str = "recorder-1", dimension: int = 384) -> None:
        self.name, self.dimension = name, dimension
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        vectors = np.ones((len(texts), self.dimension), np.float32)
        vectors[:, 0] = [len(text) for text in texts]
        return vectors


def spec_of(*features):
    return FeatureSpec.model_validate({"user": [USER], "item": list(features)})


def write_items(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_a_text_is_encoded_once(tmp_path):
    encoder = Recorder(dimension=3)
    first, new = encode_once(encoder, ["ab", "abc", "ab"], tmp_path)
    assert (first[:, 0].tolist(), new, encoder.asked) == ([2.0, 3.0, 2.0], 2, ["ab", "abc"])
    second, new = encode_once(encoder, ["abc", "abcd", "ab"], tmp_path)
    assert (second[:, 0].tolist(), new, encoder.asked) == ([3.0, 4.0, 2.0], 1, ["ab", "abc", "abcd"])
    assert encode_once(encoder, ["abcd"], tmp_path)[1] == 0


def test_another_version_of_the_encoder_encodes_again(tmp_path):
    encode_once(Recorder("recorder-1", 3), ["ab"], tmp_path)
    other = Recorder("recorder-2", 3)
    assert encode_once(other, ["ab"], tmp_path)[1] == 1
    assert other.asked == ["ab"]


def test_a_damaged_file_of_vectors_names_the_remedy(tmp_path):
    (tmp_path / "recorder-1.parquet").write_bytes(b"not Parquet")
    with pytest.raises(DataError, match="Remove it"):
        encode_once(Recorder(dimension=3), ["ab"], tmp_path)


def test_texts_are_joined_and_empty_parts_left_out():
    table = pa.table({"title": ["Heat", None, ""], "tags": [["a", "b"], ["c"], None]})
    assert item_texts(table, ("title", "tags")) == ["Heat. a, b", "c", ""]


def test_texts_and_vectors_of_items_lie_in_one_file(tmp_path, capsys):
    items = write_items(
        tmp_path / "items",
        item_id=["i2", "i1", "i3"],
        title=["Heat", "Alien", None],
        tags=[["a"], None, None],
        pixels=[[1.0, 2.0], None, [3.0, 4.0]],
    )
    spec = spec_of(TEXT, IMAGE)
    encoder = Recorder()
    assert write_item_vectors(spec, items, tmp_path / "out", tmp_path / "kept", lambda _: encoder) == 3
    assert "3 texts of title and tags: 0 kept, 3 encoded" in capsys.readouterr().out
    table = read_item_vectors(tmp_path / "out", pa.array(["i1", "i2", "i3", "new"]), spec.vectors())
    arrays = to_arrays(spec.vectors(), table)
    # "Alien" has 5 letters, "Heat. a" 7; an item without text or vector gets zeros.
    assert arrays["content"][:, :2].tolist() == [[5.0, 1.0], [7.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert arrays["image"].tolist() == [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]


def test_vectors_of_another_length_are_refused(tmp_path):
    items = write_items(tmp_path / "items", item_id=["i1"], pixels=[[1.0, 2.0, 3.0]])
    with pytest.raises(DataError, match="`image` has length 2, but column `pixels`.* of length 3"):
        write_item_vectors(spec_of(IMAGE), items, tmp_path / "out", tmp_path)


def test_a_column_that_holds_no_vectors_is_refused(tmp_path):
    items = write_items(tmp_path / "items", item_id=["i1"], pixels=["1 2"])
    with pytest.raises(DataError, match=r"`pixels` of items is not.*columns.pixels.type` to vector"):
        write_item_vectors(spec_of(IMAGE), items, tmp_path / "out", tmp_path)


def test_a_missing_text_column_is_named(tmp_path):
    items = write_items(tmp_path / "items", item_id=["i1"], title=["Heat"])
    with pytest.raises(DataError, match="takes column `tags`, which items do not have"):
        write_item_vectors(spec_of(TEXT), items, tmp_path / "out", tmp_path, lambda _: Recorder())


def test_item_vectors_are_no_part_of_histories():
    spec = spec_of(TEXT, IMAGE, {"name": "tags", "kind": "sequence", "length": 2, "source": {"column": "tags"}})
    assert [f.name for f in spec.vectors()] == ["content", "image"]
    assert [f.name for f in spec.recorded("item")] == ["tags"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 300}, "`length` of minilm's vectors is 384. Received: 300"),
        ({"kind": "text", "length": None}, "kind of an encoded text must be embedding"),
        ({"source": {"embed": []}}, "embed"),
    ],
)
def test_a_wrong_text_feature_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        spec_of({**TEXT, **change})


def test_texts_of_users_are_refused():
    with pytest.raises(ValueError, match="texts are encoded for items only"):
        FeatureSpec.model_validate({"user": [TEXT], "item": []})

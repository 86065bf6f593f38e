from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.columns import ARROW_TYPES, context_columns, row_to_arrays, to_arrays
from feature_repo.spec import Feature


def feature(name: str, kind: str, length: int | None = None, missing=None, **source) -> Feature:
    return Feature(name=name, kind=kind, length=length, missing=missing, source=source or {"column": name})


FEATURES = (
    feature("city", "categorical", missing="nowhere"),
    feature("gender", "categorical"),
    feature("age", "numeric", missing=31.0),
    feature("seen_at", "timestamp"),
    feature("genres", "sequence", 3),
    feature("taste", "embedding", 2),
    feature("title", "text"),
)
text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=4)
number = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = {
    "categorical": text,
    "numeric": number,
    "timestamp": st.integers(-(2**40), 2**40),
    "sequence": st.lists(text, max_size=5),
    "embedding": st.lists(number, min_size=2, max_size=2),
    "text": text,
}
row_values = st.fixed_dictionaries({one.name: st.none() | VALUES[one.kind] for one in FEATURES})


def table_of(rows: list[dict]) -> pa.Table:
    return pa.table({f.name: pa.array([row[f.name] for row in rows], ARROW_TYPES[f.kind]) for f in FEATURES})


@settings(max_examples=60, deadline=None)
@given(st.lists(row_values, min_size=1, max_size=6), st.integers(0, 2))
def test_a_row_gives_the_same_arrays_as_a_table(rows, skipped):
    # A slice has offsets into buffers that hold more than its own values.
    rows_left = rows[skipped:]
    arrays = to_arrays(FEATURES, table_of(rows).slice(skipped))
    for place, row in enumerate(rows_left):
        for name, array in row_to_arrays(FEATURES, row).items():
            assert array.dtype == arrays[name].dtype
            np.testing.assert_array_equal(array, arrays[name][place : place + 1], strict=True)


def test_absent_values_are_filled_by_kind():
    absent = {one.name: None for one in FEATURES}
    for arrays in (to_arrays(FEATURES, table_of([absent])), row_to_arrays(FEATURES, {})):
        assert arrays["city"].tolist() == ["nowhere"]
        assert arrays["gender"].tolist() == [""]
        assert arrays["age"].tolist() == [31.0]
        assert arrays["seen_at"].tolist() == [0]
        assert arrays["genres"].tolist() == [["", "", ""]]
        assert arrays["taste"].tolist() == [[0.0, 0.0]]
        assert arrays["title"].tolist() == [""]


def test_dtypes_are_what_models_take():
    arrays = to_arrays(FEATURES, table_of([{one.name: None for one in FEATURES}] * 2))
    assert {name: array.dtype for name, array in arrays.items()} == {
        "city": np.dtype(object),
        "gender": np.dtype(object),
        "age": np.dtype(np.float32),
        "seen_at": np.dtype(np.int64),
        "genres": np.dtype(object),
        "taste": np.dtype(np.float32),
        "title": np.dtype(object),
    }
    assert arrays["genres"].shape == (2, 3)
    assert arrays["taste"].shape == (2, 2)


def test_sequences_are_padded_and_cut_behind():
    genres = (feature("genres", "sequence", 3),)
    table = pa.table({"genres": [["a"], ["a", "b", "c", "d"], [], ["b", "c", "d"]]})
    assert to_arrays(genres, table)["genres"].tolist() == [
        ["a", "", ""],
        ["a", "b", "c"],
        ["", "", ""],
        ["b", "c", "d"],
    ]


def test_table_in_chunks_is_one():
    table = pa.concat_tables([pa.table({"age": [1.0, None]}), pa.table({"age": [3.0]})])
    assert to_arrays((feature("age", "numeric", missing=2.0),), table)["age"].tolist() == [1, 2, 3]


def test_table_without_rows_has_arrays_without_rows():
    arrays = to_arrays(FEATURES, table_of([]))
    assert {array.shape[0] for array in arrays.values()} == {0}
    assert arrays["genres"].shape == (0, 3)


@pytest.mark.parametrize(
    "convert",
    [
        lambda features: to_arrays(features, pa.table({"taste": [[1.0, 2.0, 3.0]]})),
        lambda features: row_to_arrays(features, {"taste": [1.0, 2.0, 3.0]}),
    ],
)
def test_embedding_of_another_dimension_is_refused(convert):
    with pytest.raises(ValueError, match="embedding taste must have dimension 2. Received: 3"):
        convert((feature("taste", "embedding", 2),))


CLOCK = (feature("hour", "categorical", clock="hour"), feature("weekday", "categorical", clock="weekday"))


@pytest.mark.parametrize(
    ("instant", "hour", "weekday"),
    [
        (datetime(1970, 1, 1, 0, 0, 0), "0", "3"),  # the epoch was a Thursday
        (datetime(2000, 1, 2, 23, 59, 59), "23", "6"),  # a Sunday
        (datetime(2000, 1, 3, 0, 0, 0), "0", "0"),  # the Monday after it
        (datetime(2024, 2, 29, 13, 30, 0), "13", "3"),  # a leap day, Thursday
        (datetime(1969, 12, 31, 23, 0, 0), "23", "2"),  # a Wednesday before the epoch
    ],
)
def test_clock_gives_hour_and_weekday_in_utc(instant, hour, weekday):
    seconds = np.array([int(instant.replace(tzinfo=UTC).timestamp())])
    found = context_columns(CLOCK, seconds)
    assert found["hour"].to_pylist() == [hour]
    assert found["weekday"].to_pylist() == [weekday]


def test_clock_may_be_a_number():
    found = context_columns((feature("hour", "numeric", clock="hour"),), np.array([7200]))
    assert found["hour"].type == pa.float32()
    assert found["hour"].to_pylist() == [2.0]


def test_context_comes_from_the_columns_given_and_is_null_without():
    features = (feature("device", "categorical", column="agent"), feature("battery", "numeric"))
    found = context_columns(features, np.array([0, 1]), {"agent": pa.array(["phone", None])})
    assert found["device"].to_pylist() == ["phone", None]
    assert found["battery"].to_pylist() == [None, None]
    assert found["battery"].type == pa.float32()

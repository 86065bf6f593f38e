import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.as_of import join_as_of, match_as_of
from feature_repo.tables import TIMESTAMP


def instants(values) -> pa.Array:
    return pa.array(values, pa.int64()).cast(TIMESTAMP)


HISTORY = pa.table(
    {
        "user_id": ["u", "u", "u", "v"],
        "event_timestamp": instants([0, 101, 201, 0]),
        "likes": [0.0, 1.0, 2.0, 7.0],
        "last": pa.array([None, ["a"], ["b", "a"], None], pa.list_(pa.string())),
    }
)


def asked(*rows: tuple[str | None, int]) -> pa.Table:
    users, at = zip(*rows, strict=True)
    return pa.table({"user_id": pa.array(users, pa.string()), "timestamp": instants(at), "label": [1] * len(rows)})


def test_row_holds_from_its_timestamp_on():
    # The event of 100 µs is in the row of 101 µs: a row read as of 100 does not see it.
    found = join_as_of(asked(("u", 100), ("u", 101), ("u", 200), ("u", 201)), HISTORY, "user_id", ["likes"])
    assert found.column("likes").to_pylist() == [0, 1, 1, 2]


def test_rows_keep_their_order_and_lists_their_entries():
    found = join_as_of(asked(("v", 5), ("u", 900), ("u", 150), ("u", 900)), HISTORY, "user_id", ["last", "likes"])
    assert found.column_names == ["last", "likes"]
    assert found.to_pylist() == [
        {"last": None, "likes": 7},
        {"last": ["b", "a"], "likes": 2},
        {"last": ["a"], "likes": 1},
        {"last": ["b", "a"], "likes": 2},
    ]


def test_row_without_a_match_is_kept_with_nulls():
    late = HISTORY.slice(1)
    found = join_as_of(asked(("u", 100), ("stranger", 500), (None, 500), ("u", 500)), late, "user_id", ["likes"])
    assert found.column("likes").to_pylist() == [None, None, None, 2]


def test_features_may_be_a_file(tmp_path):
    path = str(tmp_path / "user_features.parquet")
    pq.write_table(HISTORY, path)
    assert join_as_of(asked(("u", 150)), path, "user_id", ["likes"]).column("likes").to_pylist() == [1]


def matched(rows, **given) -> list:
    features = given.pop("features", HISTORY)
    found = match_as_of(
        rows, features, {"user_id": "user_id"}, ("timestamp", "event_timestamp"), {"n": "likes"}, **given
    )
    return found.column("n").to_pylist()


@pytest.mark.parametrize(("age", "expected"), [(49, [None]), (50, [1.0]), (51, [1.0]), (None, [1.0])])
def test_row_older_than_allowed_is_unknown_and_hides_older_ones(age, expected):
    assert matched(asked(("u", 151)), oldest_microseconds=age) == expected


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_of_rows_of_one_instant_the_one_created_last_counts(order):
    features = pa.table(
        {
            "user_id": ["u"] * 3,
            "event_timestamp": instants([10, 10, 10]),
            "created": instants([50, 90, None]),
            "likes": [1.0, 2.0, 3.0],
        }
    ).take(order)
    # Created after the row that asks: only time decides whether a row counts.
    assert matched(asked(("u", 20)), features=features, created="created") == [2.0]


def test_without_keys_all_rows_share_one_entity():
    found = match_as_of(
        asked(("u", 150), ("v", 5)), HISTORY.slice(0, 3), {}, ("timestamp", "event_timestamp"), {"n": "likes"}
    )
    assert found.column("n").to_pylist() == [1, 0]


def test_names_with_quotes_are_names():
    features = HISTORY.rename_columns(["user_id", "event_timestamp", 'li"kes', "last"])
    assert join_as_of(asked(("u", 150)), features, "user_id", ['li"kes']).to_pylist() == [{'li"kes': 1.0}]

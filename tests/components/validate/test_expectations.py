from datetime import UTC, datetime

import pyarrow as pa

from components.validate.expectations import checked_columns, make_expectations
from feature_repo.spec import FeatureSpec

LATEST = datetime(2024, 1, 1, tzinfo=UTC)
SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {"name": "user_id", "kind": "categorical", "source": {"column": "user_id"}},
            {"name": "age", "kind": "numeric", "source": {"column": "years"}, "minimum": 0, "maximum": 120},
            {"name": "events", "kind": "numeric", "source": {"aggregate": "count"}},
        ],
        "item": [
            {"name": "tags", "kind": "sequence", "length": 3, "source": {"column": "tags"}},
            {"name": "vector", "kind": "embedding", "length": 2, "source": {"column": "vector"}},
            {"name": "price", "kind": "numeric", "source": {"column": "price"}, "minimum": 1},
        ],
        "context": [{"name": "hour", "kind": "categorical", "source": {"clock": "hour"}}],
    }
)
COLUMNS = {
    "events": ["user_id", "item_id", "event_type", "timestamp"],
    "impressions": ["request_id", "user_id", "item_id", "timestamp", "label"],
    "users": ["user_id", "years"],
    "items": ["item_id", "tags (entries)", "vector (entries)", "price"],
}


def expected(table, columns=COLUMNS):
    return {
        (one.column, one.kind.removeprefix("ExpectColumn"), one.severity): dict(one.arguments)
        for one in make_expectations(SPEC, columns, LATEST)
        if one.table == table
    }


def test_ranges_of_the_spec_are_expected_of_the_source_columns():
    assert expected("users")[("years", "ValuesToBeBetween", "error")] == {"min_value": 0, "max_value": 120}
    assert expected("items")[("price", "ValuesToBeBetween", "error")] == {"min_value": 1, "max_value": None}


def test_ids_are_expected_to_be_there_once():
    assert ("user_id", "ValuesToBeUnique", "error") in expected("users")
    assert ("user_id", "ValuesToNotBeNull", "error") in expected("users")


def test_lists_are_expected_by_their_length():
    items = expected("items")
    assert items[("tags (entries)", "ValuesToBeBetween", "warning")] == {"min_value": 1, "mostly": 0.5}
    assert items[("vector (entries)", "ValuesToBeInSet", "error")] == {"value_set": [2]}


def test_only_presence_is_expected_of_a_missing_column():
    without = {**COLUMNS, "users": ["user_id"]}
    assert [key for key in expected("users", without) if key[0] == "years"] == [("years", "ToExist", "error")]


def test_timestamps_are_expected_until_the_latest():
    between = expected("events")[("timestamp", "ValuesToBeBetween", "error")]
    assert between == {"min_value": datetime(1970, 1, 1, tzinfo=UTC), "max_value": LATEST}


def test_aggregates_and_the_clock_need_no_column():
    assert {key[0] for key in expected("users")} == {"user_id", "years"}
    assert "hour" not in {key[0] for key in expected("impressions")}


def test_checked_columns_count_entries_and_known_ids():
    table = pa.table({"item_id": ["a", "b"], "tags": [["x", "y"], None]})
    assert checked_columns(table, {"item_id": pa.array(["b"])}).to_pydict() == {
        "item_id": ["a", "b"],
        "item_id (known)": [False, True],
        "tags (entries)": [2, None],
    }

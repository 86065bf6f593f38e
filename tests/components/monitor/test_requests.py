import pyarrow as pa

from components.monitor.requests import request_table, select_window, shown_table, stage_times
from feature_repo.spec import ColumnSource, Feature

AGE = Feature(name="age", kind="numeric", source=ColumnSource(column="age"))
CITY = Feature(name="city", kind="categorical", source=ColumnSource(column="city"))
TAGS = Feature(name="tags", kind="sequence", length=2, source=ColumnSource(column="tags"))


def record(at=100.0, release=1, features=None, items=(), fallback=None):
    shown = [{"item_id": item} for item in items]
    return {"received_at": at, "release": release, "features": features or {}, "items": shown, "fallback": fallback}


def test_window_keeps_the_release_and_counts_the_others():
    records = [
        record(at=99.9),
        record(100.0),
        record(120.0, fallback="popular"),
        record(110.0),
        record(105.0, release=2),
    ]
    window = select_window(records, release=1, since=100.0, largest_sample=10)
    assert (window.requests, window.others, window.fallbacks) == (3, 1, 1)
    assert (window.first, window.last) == (100.0, 120.0)
    assert len(window.sample) == 3


def test_sample_is_of_the_whole_window_when_there_are_more():
    window = select_window((record(at=float(n)) for n in range(1, 1001)), 1, 0.0, 100)
    assert (window.requests, len(window.sample)) == (1000, 100)
    assert len({r["received_at"] for r in window.sample}) == 100
    assert 300 < sum(r["received_at"] for r in window.sample) / 100 < 700


def test_no_request_is_a_window_too():
    window = select_window([], 1, 0.0, 10)
    assert (window.requests, window.first, window.last) == (0, 0.0, 0.0)


def test_request_table_has_a_row_a_request():
    records = [record(features={"age": 30, "tags": ["a"]}), record(), record(features={"age": None, "tags": []})]
    assert request_table([AGE, CITY, TAGS], records).to_pydict() == {"age": [30.0, None], "tags": [["a"], []]}


def test_values_of_another_type_are_kept_as_text():
    records = [record(features={"age": "old"}), record(features={"age": 3}), record(features={"age": None})]
    assert request_table([AGE], records).to_pydict() == {"age": ["old", "3", None]}


def test_shown_table_has_a_row_for_each_time_an_item_was_shown():
    items = pa.table({"item_id": ["a", "b"], "tags": [["x"], ["y"]], "age": [1.0, 2.0]})
    records = [record(items=["b", "a", "z"]), record(items=["b", "z"])]
    shown, unknown = shown_table([AGE, CITY], records, items)
    assert shown.to_pydict() == {"age": [2.0, 1.0, 2.0]}
    assert unknown == {"z": 2}


def test_stage_times_are_percentiles():
    times = stage_times([{"stage_ms": {"ranking": float(n)}} for n in range(101)])
    assert times == {"ranking": (50.0, 99.0)}

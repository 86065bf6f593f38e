import numpy as np
import pyarrow as pa
import pytest

from feature_repo.as_of import join_as_of
from feature_repo.tables import TIMESTAMP
from trainer import disk_arrays
from trainer.disk_arrays import search_within
from trainer.feature_history import FeatureHistory


def instants(values):
    return pa.array(values, pa.int64()).cast(TIMESTAMP)


def history(rows, columns=("count",)):
    table = pa.table(
        {
            "item_id": [row[0] for row in rows],
            "event_timestamp": instants([row[1] for row in rows]),
            "count": pa.array([row[2] for row in rows], pa.float32()),
            "tags": pa.array([[str(row[2])] for row in rows], pa.list_(pa.string())),
        }
    )
    return table, FeatureHistory(table, "item_id", np.array(["a", "b", "c"], object), columns)


def test_search_finds_the_first_place_in_the_stretch_that_is_not_below():
    values = np.array([1, 3, 3, 9, 2, 4])
    starts, ends = np.array([0, 0, 0, 4, 4, 2]), np.array([4, 4, 4, 6, 6, 2])
    found = search_within(values, starts, ends, np.array([3, 4, 10, 2, 3, 0]))
    assert found.tolist() == [1, 3, 4, 4, 5, 2]


def test_a_row_holds_from_its_instant_on_and_an_item_without_one_has_nulls():
    _, found = history([("b", 10, 2.0), ("a", 5, 1.0), ("b", 20, 3.0)])
    codes, at = np.array([1, 1, 1, 1, 0, 2]), np.array([9, 10, 19, 20, 99, 99])
    assert found.at(codes, at).column("count").to_pylist() == [None, 2.0, 2.0, 3.0, 1.0, None]


def test_values_are_those_of_the_as_of_join(monkeypatch):
    # Small batches, so that the answers come from many of them.
    monkeypatch.setattr(disk_arrays, "BATCH_ROWS", 2048)
    random = np.random.default_rng(5)
    places = np.unique(random.integers(0, 3 * 5000, 9000))
    rows = [("abc"[place % 3], int(place // 3), float(place)) for place in random.permutation(places)]
    table, found = history(rows, ("count", "tags"))
    codes, at = random.integers(0, 3, 500), random.integers(-5, 5100, 500)
    asked = pa.table({"item_id": [f"{'abc'[code]}" for code in codes], "timestamp": instants(at)})
    expected = join_as_of(asked, table, "item_id", ["count", "tags"])
    assert found.at(codes, at).to_pydict() == expected.to_pydict()


def test_a_feature_table_without_rows_is_refused():
    _, found = history([])
    with pytest.raises(ValueError, match="empty"):
        found.at(np.array([0]), np.array([1]))

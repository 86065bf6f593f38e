import pyarrow as pa
import pytest

from components.build_features.config import SplitConfig
from components.build_features.split import split_by_time
from feature_repo.errors import DataError
from feature_repo.tables import TIMESTAMP


def impressions(instants: list[int]) -> pa.Table:
    return pa.table(
        {
            "timestamp": pa.array(instants, pa.int64()).cast(TIMESTAMP),
            "user_id": [f"u{i}" for i in range(len(instants))],
            "item_id": ["a"] * len(instants),
        }
    )


def instants_of(part: pa.Table) -> list[int]:
    return part.column("timestamp").cast(pa.int64()).to_pylist()


def test_parts_follow_each_other_in_time_whatever_the_order_of_rows():
    parts = split_by_time(impressions([9, 3, 5, 1, 7, 2, 8, 4, 6, 10]), SplitConfig())
    assert instants_of(parts["train"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert instants_of(parts["validation"]) == [9]
    assert instants_of(parts["test"]) == [10]


def test_rows_of_one_instant_are_never_parted():
    # Eight tenths of ten rows would cut between two rows of instant 5.
    parts = split_by_time(impressions([1, 2, 3, 4, 4, 4, 5, 5, 5, 6]), SplitConfig())
    assert instants_of(parts["train"]) == [1, 2, 3, 4, 4, 4]
    assert instants_of(parts["validation"]) == [5, 5, 5]
    assert instants_of(parts["test"]) == [6]


@pytest.mark.parametrize("instants", [[], [1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 2]])
def test_window_that_would_be_empty_is_refused(instants):
    with pytest.raises(DataError, match=r"the (train|validation|test) window is empty: .* Ingest more data"):
        split_by_time(impressions(instants), SplitConfig())

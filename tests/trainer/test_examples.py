import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import DataError
from feature_repo.tables import TIMESTAMP
from trainer.examples import ExampleFile, open_examples


def write(path, instants, labels=None):
    """Rows of a user each, seven to a row group."""
    size = len(instants)
    table = pa.table(
        {
            "user_id": [f"u{place}" for place in range(size)],
            "item_id": [f"i{place % 3}" for place in range(size)],
            "timestamp": pa.array(instants, pa.int64()).cast(TIMESTAMP),
            "label": pa.array(labels or [place % 2 for place in range(size)], pa.int8()),
        }
    )
    pq.write_table(table, path, row_group_size=7)
    return ExampleFile(path)


def test_a_file_is_read_a_row_group_at_a_time(tmp_path):
    file = write(tmp_path / "train.parquet", list(range(20)))
    assert (len(file), file.parts) == (20, 3)
    assert file.part(1).instants.tolist() == list(range(7, 14))
    assert [len(part) for part in file.each()] == [7, 7, 6]
    assert file.count_positives() == 10


def test_a_sample_holds_the_wanted_rows_alone_in_the_order_of_time(tmp_path):
    file = write(tmp_path / "train.parquet", list(range(20)))
    every = file.sample(100, 1, lambda part: part.labels > 0)
    assert every.instants.tolist() == list(range(1, 20, 2))
    some = file.sample(4, 1, lambda part: part.labels > 0)
    assert len(some) == 4 and set(some.instants) < set(every.instants)
    assert (np.diff(some.instants) > 0).all()
    assert file.sample(4, 1, lambda part: part.labels > 0).instants.tolist() == some.instants.tolist()
    assert len(file.sample(4, 1, lambda part: part.labels > 5)) == 0


def test_every_row_is_drawn_as_often_as_the_other(tmp_path):
    file = write(tmp_path / "train.parquet", list(range(20)))
    drawn = np.concatenate([file.sample(5, seed).instants for seed in range(200)])
    # 200 draws of 5 of 20: each row 50 times, give or take 4 deviations of sqrt(200 * 1/4 * 3/4).
    assert np.abs(np.bincount(drawn, minlength=20) - 50).max() < 25


def test_rows_out_of_order_are_refused_within_a_part_and_across_parts(tmp_path):
    for instants in ([0, 2, 1, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 5]):
        write(tmp_path / "train.parquet", instants)
        with pytest.raises(DataError, match="train split must be ordered by time"):
            open_examples(tmp_path, "train")
    write(tmp_path / "train.parquet", [0, 1, 1, 3, 4, 5, 6, 6])
    assert len(open_examples(tmp_path, "train")) == 8

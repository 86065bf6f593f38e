"""What the funnel is given by `make bench-quality`: the product's tables, without anything that is asked for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.quality.contestants.funnel import _held_out, configured
from tests.benchmarks.quality.funnel_tables import FeatureTables, Ids, make_feature_tables, make_moments, make_rows
from tests.benchmarks.quality.problem import Log, Phase, Problem
from tests.benchmarks.quality.protocols import last_one, split_by_user

SECOND = 1_000_000
IDS = Ids(np.array(["u0", "u1"], object), np.array([f"i{n}" for n in range(7)], object))
# User 0 likes 0, 2, then 3 and 5 in one second, and 6; user 1 likes 6 before that, and 5 after.
LOG = Log(
    users=np.array([0, 0, 1, 0, 0, 0, 1]),
    items=np.array([0, 2, 6, 3, 5, 6, 5]),
    times=np.array([10, 20, 30, 40, 40, 50, 60]) * SECOND,
    positives=np.ones(7, bool),
)
SPEC = configured({}).features


@pytest.fixture(scope="module")
def canonical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    users = {"user_id": IDS.users, "age": [30.0, 40.0], "gender": ["F", "M"], "occupation": ["writer", "artist"]}
    items = {
        "item_id": IDS.items,
        "genres": [["Drama"]] * 7,
        "release_year": [1990.0] * 7,
        "title": [f"Film {n}" for n in range(7)],
    }
    pq.write_table(pa.table(users), folder / "users.parquet")
    pq.write_table(pa.table(items), folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def rounds() -> tuple[Phase, Phase]:
    return split_by_user(LOG, last_one)


@pytest.fixture(scope="module")
def tables(rounds: tuple[Phase, Phase], canonical: Path) -> FeatureTables:
    return make_feature_tables(SPEC, rounds[0].log, IDS, canonical, canonical / "features")


def test_a_moment_knows_its_second_but_not_what_is_asked_for(rounds, tables) -> None:
    validation, _ = rounds

    moments = make_moments(SPEC, validation, IDS, tables.user_features, tables.item_features)

    # User 0 is asked for item 5, which came in the second of item 3; user 1 has too few likes to be asked.
    assert moments.users.tolist() == ["u0"]
    assert [items.tolist() for items in moments.impressions] == [[5]]
    assert moments.rows.column("user_last_events")[0].as_py() == ["i3", "i2", "i0"]
    assert moments.rows.column("user_events")[0].as_py() == 3
    assert moments.seen[0].tolist() == [0, 2, 3]
    assert moments.past_positives.tolist() == [3]


def test_features_of_items_count_only_what_is_learned_from(tables) -> None:
    likes = {
        row["item_id"]: row["item_likes"]
        for row in pq.read_table(tables.latest_item_features, columns=["item_id", "item_likes"]).to_pylist()
    }

    # Items 5 and 6 are held out for user 0; user 1's likes of both stay.
    assert likes == {"i0": 1, "i1": 0, "i2": 1, "i3": 1, "i4": 0, "i5": 1, "i6": 1}


def test_the_latest_values_hold_at_any_instant(tables) -> None:
    at = np.array([5 * SECOND])
    one = np.array([0])

    latest = make_rows(SPEC, one, one, at, one, IDS, tables.user_features, tables.latest_item_features)
    then = make_rows(SPEC, one, one, at, one, IDS, tables.user_features, tables.item_features)

    assert latest.column("item_likes")[0].as_py() == 1
    assert then.column("item_likes")[0].as_py() == 0


def test_validation_rows_are_of_the_instant_at_which_they_are_asked_for(rounds) -> None:
    validation, test = rounds

    users, items, times, labels = _held_out(Problem(validation, test, np.eye(7), np.eye(2)))

    assert list(zip(users.tolist(), items.tolist(), times.tolist(), labels.tolist(), strict=True)) == [
        (0, 5, 40 * SECOND + 1, 1)
    ]

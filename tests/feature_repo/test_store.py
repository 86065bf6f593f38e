import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import RecloopError
from feature_repo.online import OnlineFeatures
from feature_repo.spec import FeatureSpec
from feature_repo.store import apply_repository, materialise, point_in_time_join
from feature_repo.tables import TIMESTAMP

SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {"name": "user_id", "kind": "categorical", "source": {"column": "user_id"}, "used_by": ["filter"]},
            {"name": "city", "kind": "categorical", "source": {"column": "city"}},
            {"name": "likes", "kind": "numeric", "source": {"aggregate": "count"}},
            {"name": "last_at", "kind": "timestamp", "source": {"aggregate": "last_timestamp"}},
            {"name": "recent", "kind": "sequence", "length": 2, "source": {"aggregate": "last"}},
            {"name": "taste", "kind": "embedding", "length": 2, "source": {"column": "taste"}},
            {
                "name": "seen",
                "kind": "sequence",
                "length": 3000,
                "source": {"aggregate": "last"},
                "used_by": ["filter"],
            },
        ],
        "item": [
            {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
            {"name": "title", "kind": "text", "source": {"column": "title"}},
            {"name": "item_likes", "kind": "numeric", "source": {"aggregate": "count"}},
        ],
    }
)
SEEN = [f"i{number}" for number in range(2500)]
THIRD = np.float32(1 / 3)
END = datetime(1970, 1, 1, 0, 0, 10, 1, tzinfo=UTC)
"""The instant of the last event; what follows from it holds 1 µs later."""


def seconds(*values: float) -> pa.Array:
    return pa.array([round(value * 1e6) for value in values], pa.int64()).cast(TIMESTAMP)


def strings(*values) -> pa.Array:
    return pa.array(values, pa.list_(pa.string()))


TABLES = {
    "user_features": {
        "user_id": ["u", "u", "u", "quiet"],
        # The last row is of an event that leaves a window after the end of the data.
        "event_timestamp": seconds(0, 10.000001, 15, 0),
        "city": ["Ulm", "Ulm", "Ulm", None],
        "likes": pa.array([0, THIRD, 9, 0], pa.float32()),
        "last_at": pa.array([None, 10, 10, None], pa.int64()),
        "recent": strings(None, ["b", "a"], ["b", "a"], None),
        "taste": pa.array([None, [0.25, THIRD], [0, 0], None], pa.list_(pa.float32())),
    },
    "item_features": {
        "item_id": ["a", "a"],
        "event_timestamp": seconds(0, 5),
        "title": ["Alien", "Alien"],
        "item_likes": pa.array([0, 1], pa.float32()),
    },
    "user_filters": {
        "user_id": ["u", "quiet"],
        "event_timestamp": seconds(10.000001, 10.000001),
        "seen": strings(SEEN, None),
    },
}


def write_tables(folder) -> dict[str, str]:
    for name, columns in TABLES.items():
        pq.write_table(pa.table(columns), folder / name)
    return {name: str(folder / name) for name in TABLES}


@pytest.fixture
def store(tmp_path):
    return apply_repository(tmp_path / "home" / "feature_store", "tiny", SPEC, **write_tables(tmp_path))


@pytest.fixture
def online(store):
    materialise(store, SPEC, END)
    return OnlineFeatures(store.repo_path, SPEC)


def test_rows_are_joined_in_their_order_with_what_models_take(store):
    rows = pa.table(
        {
            "user_id": ["u", "stranger", "u", "quiet"],
            "item_id": ["a", "a", "b", "a"],
            "timestamp": seconds(10, 7, 10.000001, 3),
            "label": [1, 0, 1, 0],
        }
    )
    joined = point_in_time_join(store, SPEC, rows)
    assert joined.column_names[:3] == ["user_id", "item_id", "timestamp"]
    assert joined.column_names[3:] == ["city", "likes", "last_at", "recent", "taste", "title", "item_likes"]
    assert joined.column("user_id").to_pylist() == ["u", "stranger", "u", "quiet"]
    assert joined.column("city").to_pylist() == ["Ulm", None, "Ulm", None]
    # The event at 10 s is no part of a row at 10 s.
    assert joined.column("likes").to_pylist() == [0, None, THIRD, 0]
    assert joined.column("recent").to_pylist() == [None, None, ["b", "a"], None]
    assert joined.column("title").to_pylist() == ["Alien", "Alien", None, "Alien"]
    assert joined.column("item_likes").to_pylist() == [1, 1, None, 0]


def test_materialising_counts_the_rows_of_each_view(store):
    assert materialise(store, SPEC, END) == {"user_features": 2, "item_features": 1, "user_filters": 2}


def test_materialising_writes_nothing_to_the_terminal(store, capfd):
    materialise(store, SPEC, END)
    assert capfd.readouterr() == ("", "")


def test_user_is_read_as_stored_as_of_the_end_of_the_data(online):
    found = online.user("u")
    assert found == {
        "city": "Ulm",
        "likes": float(THIRD),
        "last_at": 10,
        "recent": ["b", "a"],
        "taste": [0.25, float(THIRD)],
        "seen": SEEN,
    }
    assert {name: type(value) for name, value in found.items() if not isinstance(value, list)} == {
        "city": str,
        "likes": float,
        "last_at": int,
    }


def test_user_without_events_has_what_is_known(online):
    assert online.user("quiet") == {
        "city": None,
        "likes": 0.0,
        "last_at": None,
        "recent": None,
        "taste": None,
        "seen": None,
    }


def test_unknown_user_has_nothing(online):
    assert online.user("stranger") == dict.fromkeys(("city", "likes", "last_at", "recent", "taste", "seen"))


def test_threads_share_one_reader_and_take_turns(online, monkeypatch):
    expected = {user: online.user(user) for user in ("u", "quiet", "stranger")}
    inside, most, wrong = [], [], []
    read_store = online._store.get_online_features

    def watched(**given):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return read_store(**given)

    monkeypatch.setattr(online._store, "get_online_features", watched)

    def read(user: str) -> None:
        for _ in range(10):
            if online.user(user) != expected[user]:
                wrong.append(user)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read, user) for user in ("u", "quiet", "stranger", "u")]:
            done.result()
    assert wrong == []
    assert max(most) == 1


def test_reader_sees_what_a_later_materialisation_writes(online, store, tmp_path):
    assert online.user("quiet")["likes"] == 0
    columns = dict(TABLES["user_features"])
    columns["likes"] = pa.array([0, THIRD, 9, 4], pa.float32())
    pq.write_table(pa.table(columns), tmp_path / "user_features")
    materialise(store, SPEC, END)
    assert online.user("quiet")["likes"] == 4


def test_reading_never_waits_for_a_writer(online, store):
    with sqlite3.connect(store.repo_path / "online_store.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("DELETE FROM tiny_user_features")
        # Without the write-ahead log this would wait and then fail.
        assert online.user("u")["likes"] == float(THIRD)
        writer.execute("ROLLBACK")


@pytest.mark.parametrize("missing", ["feature_store.yaml", "registry.db"])
def test_folder_that_is_no_repository_is_refused_on_one_line(store, missing):
    (store.repo_path / missing).unlink()
    with pytest.raises(RecloopError, match=f"is no feature store: it has no {missing}. Train first") as refused:
        OnlineFeatures(store.repo_path, SPEC)
    assert "\n" not in str(refused.value)


def changed(**sides) -> FeatureSpec:
    return FeatureSpec.model_validate({**SPEC.model_dump(mode="json"), **sides})


def test_feature_that_the_store_does_not_hold_yet_is_absent(online, store):
    newer = changed(
        user=[
            *SPEC.model_dump(mode="json")["user"],
            {"name": "age", "kind": "numeric", "source": {"column": "age"}},
        ]
    )
    found = OnlineFeatures(store.repo_path, newer).user("u")
    assert found["age"] is None
    assert found["city"] == "Ulm"


def test_views_follow_a_spec_that_loses_features(store, tmp_path):
    fewer = changed(user=[f for f in SPEC.model_dump(mode="json")["user"] if f["name"] not in ("seen", "taste")])
    paths = {name: str(tmp_path / name) for name in TABLES}
    again = apply_repository(store.repo_path, "tiny", fewer, **paths)
    assert materialise(again, fewer, END) == {"user_features": 2, "item_features": 1}
    assert set(OnlineFeatures(store.repo_path, fewer).user("u")) == {"city", "likes", "last_at", "recent"}


def test_paths_are_relative_to_where_the_command_runs(tmp_path, monkeypatch):
    write_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    store = apply_repository(tmp_path / "feature_store", "tiny", SPEC, **{name: name for name in TABLES})
    assert materialise(store, SPEC, END)["item_features"] == 1


def test_end_may_be_in_any_time_zone(store):
    materialise(store, SPEC, END.astimezone(timezone(timedelta(hours=9))))
    assert OnlineFeatures(store.repo_path, SPEC).user("u")["likes"] == float(THIRD)

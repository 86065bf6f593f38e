from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Float32, Int64, String

START = datetime(2024, 1, 1, tzinfo=UTC)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def hours(values) -> list[datetime]:
    return [START + timedelta(hours=float(value)) for value in values]


def view(folder: Path, name: str, entities, table: dict, fields: dict, ttl=0.0, created="") -> FeatureView:
    path = folder / f"{name}.parquet"
    frame = pa.table(table)
    at = pa.array(hours(table["event_timestamp"]), pa.timestamp("us", tz="UTC"))
    frame = frame.set_column(frame.column_names.index("event_timestamp"), "event_timestamp", at)
    if created:
        stamps = pa.array(hours(table[created]), pa.timestamp("us", tz="UTC"))
        frame = frame.set_column(frame.column_names.index(created), created, stamps)
    pq.write_table(frame, path)
    source = FileSource(
        name=f"{name}_source", path=str(path), timestamp_field="event_timestamp", created_timestamp_column=created
    )
    schema = [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(name=name, entities=entities, ttl=timedelta(hours=ttl), schema=schema, source=source)


def store_of(folder: Path, views, offline="feature_repo.offline_store.AsofOfflineStore") -> FeatureStore:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "project": "test",
        "provider": "local",
        "registry": "registry.db",
        "offline_store": {"type": offline},
        "online_store": {"type": "sqlite", "path": "online.db"},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    store = FeatureStore(repo_path=str(folder))
    store.apply([USER, ITEM, *views])
    return store


def asked(users, at, **more) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, "event_timestamp": hours(at), **more})


def likes(folder: Path, **given) -> FeatureView:
    table = {"user_id": ["u", "u", "v"], "event_timestamp": [1, 5, 2], "likes": pa.array([1.0, 5.0, 2.0], pa.float32())}
    return view(folder, "likes_view", [USER], {**table, **given.pop("table", {})}, {"likes": Float32}, **given)


def test_rows_keep_their_order_and_columns_and_nulls_where_nothing_is_known(tmp_path):
    store = store_of(tmp_path / "repo", [likes(tmp_path)])
    rows = asked(["v", "stranger", "u", "u", "u"], [9, 9, 6, 0.5, 1], label=[1, 2, 3, 4, 5])
    found = store.get_historical_features(rows, ["likes_view:likes"]).to_df()
    assert found.columns.tolist() == ["user_id", "event_timestamp", "label", "likes"]
    assert found["label"].tolist() == [1, 2, 3, 4, 5]
    # u knows nothing before its first row; a row of the very instant counts.
    assert found["likes"].replace({np.nan: None}).tolist() == [2.0, None, 5.0, None, 1.0]
    assert found["likes"].dtype == np.float32


@pytest.mark.parametrize(("age", "expected"), [(1.9, None), (2.0, 5.0)])
def test_value_older_than_the_ttl_is_unknown(tmp_path, age, expected):
    store = store_of(tmp_path / "repo", [likes(tmp_path, ttl=age)])
    # The row of 1 o'clock is older still: it must not come forth in its place.
    found = store.get_historical_features(asked(["u"], [7]), ["likes_view:likes"]).to_arrow()
    assert found.column("likes").to_pylist() == [expected]


def test_row_created_last_counts_among_rows_of_one_instant(tmp_path):
    table = {"event_timestamp": [1, 1, 1], "user_id": ["u"] * 3, "created": [20, 40, 30]}
    store = store_of(tmp_path / "repo", [likes(tmp_path, table=table, created="created")])
    found = store.get_historical_features(asked(["u"], [2]), ["likes_view:likes"]).to_arrow()
    assert found.column("likes").to_pylist() == [5.0]


def test_several_views_of_several_entities_join_at_once(tmp_path):
    fields = {"likes": Float32, "title": String}
    items = {"item_id": ["i", "i"], "event_timestamp": [0, 4], "likes": [10.0, 14.0], "title": ["Old", "New"]}
    store = store_of(tmp_path / "repo", [likes(tmp_path), view(tmp_path, "items", [ITEM], items, fields)])
    rows = asked(["u", "v"], [3, 8], item_id=["i", "nothing"])
    found = store.get_historical_features(
        rows, ["likes_view:likes", "items:likes", "items:title"], full_feature_names=True
    ).to_arrow()
    assert found.select(["likes_view__likes", "items__likes", "items__title"]).to_pylist() == [
        {"likes_view__likes": 1.0, "items__likes": 10.0, "items__title": "Old"},
        {"likes_view__likes": 2.0, "items__likes": None, "items__title": None},
    ]


def test_columns_and_keys_may_have_other_names_in_the_source(tmp_path):
    path = tmp_path / "raw.parquet"
    at = pa.array(hours([1, 5]), pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"person": ["u", "u"], "event_timestamp": at, "n_likes": [1, 5]}), path)
    source = FileSource(
        name="raw",
        path=str(path),
        timestamp_field="event_timestamp",
        field_mapping={"person": "user_id", "n_likes": "likes"},
    )
    named = FeatureView(name="named", entities=[USER], schema=[Field(name="likes", dtype=Int64)], source=source)
    store = store_of(tmp_path / "repo", [named])
    found = store.get_historical_features(asked(["u"], [6]), ["named:likes"]).to_arrow()
    assert found.column("likes").to_pylist() == [5]
    store.materialize(START, START + timedelta(hours=9))
    assert store.get_online_features(["named:likes"], [{"user_id": "u"}]).to_dict()["likes"] == [5]


def test_view_without_entities_holds_for_every_row(tmp_path):
    everyone = view(tmp_path, "world", [], {"event_timestamp": [1, 5], "users": [10, 50]}, {"users": Int64})
    store = store_of(tmp_path / "repo", [everyone])
    found = store.get_historical_features(asked(["u", "v"], [6, 2]), ["world:users"]).to_arrow()
    assert found.column("users").to_pylist() == [50, 10]
    store.materialize(START, START + timedelta(hours=9))
    assert store.get_online_features(["world:users"], [{"user_id": "u"}]).to_dict()["users"] == [50]


def test_instants_without_a_time_zone_are_utc(tmp_path):
    store = store_of(tmp_path / "repo", [likes(tmp_path)])
    rows = pd.DataFrame({"user_id": ["u", "u"], "event_timestamp": [datetime(2024, 1, 1, 4), datetime(2024, 1, 1, 5)]})
    before = rows.copy()
    found = store.get_historical_features(rows, ["likes_view:likes"]).to_arrow()
    assert found.column("likes").to_pylist() == [1.0, 5.0]
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("SELECT 1", "must be a pandas DataFrame"),
        (pd.DataFrame({"who": ["u"], "event_timestamp": hours([1])}), "lacks the join keys"),
    ],
)
def test_rows_that_cannot_be_joined_are_refused(tmp_path, rows, message):
    store = store_of(tmp_path / "repo", [likes(tmp_path)])
    with pytest.raises(ValueError, match=message):
        store.get_historical_features(rows, ["likes_view:likes"]).to_df()


def test_result_may_be_saved_once(tmp_path):
    store = store_of(tmp_path / "repo", [likes(tmp_path)])
    job = store.get_historical_features(asked(["u"], [6]), ["likes_view:likes"])
    path = tmp_path / "saved.parquet"
    job.persist(SavedDatasetFileStorage(str(path)))
    assert pq.read_table(path).column("likes").to_pylist() == [5.0]
    with pytest.raises(FileExistsError, match="exists already"):
        job.persist(SavedDatasetFileStorage(str(path)))


def pulled(folder: Path, start: float, end: float, **given) -> pa.Table:
    store = store_of(folder / "repo", [likes(folder, **given)])
    return store._provider.offline_store.pull_latest_from_table_or_query(
        store.config,
        store.get_feature_view("likes_view").batch_source,
        ["user_id"],
        ["likes"],
        "event_timestamp",
        given.get("created") or None,
        *hours([start, end]),
    ).to_arrow()


def likes_by_user(table: pa.Table) -> dict:
    return dict(zip(table.column("user_id").to_pylist(), table.column("likes").to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 9, {"u": 5.0, "v": 2.0}),
        (0, 5, {"u": 5.0, "v": 2.0}),  # both ends count
        (0, 4.9, {"u": 1.0, "v": 2.0}),
        (2.5, 9, {"u": 5.0}),
    ],
)
def test_latest_row_of_each_entity_between_two_instants(tmp_path, start, end, expected):
    assert likes_by_user(pulled(tmp_path, start, end)) == expected


def test_latest_row_of_one_instant_is_the_one_created_last(tmp_path):
    table = {"event_timestamp": [1, 1, 1], "user_id": ["u"] * 3, "created": [20, 40, 30]}
    assert likes_by_user(pulled(tmp_path, 0, 9, table=table, created="created")) == {"u": 5.0}


def test_all_rows_between_two_instants(tmp_path):
    store = store_of(tmp_path / "repo", [likes(tmp_path)])
    source = store.get_feature_view("likes_view").batch_source
    found = store._provider.offline_store.pull_all_from_table_or_query(
        store.config, source, ["user_id"], ["likes"], "event_timestamp", *hours([2, 5])
    ).to_arrow()
    assert sorted(found.column("likes").to_pylist()) == [2.0, 5.0]


def random_views(folder: Path, random, ties: bool):
    """Two views with many rows; every entity has a row at 0. Returns them and their tables."""
    tables = {}
    for key, ids in (("user_id", ("u0", "u1", "u2", "u3")), ("item_id", ("i0", "i1", "i2"))):
        count = 40
        later = random.integers(1, 12, count) if ties else random.permutation(count) + 1
        tables[key] = {
            key: [*ids, *random.choice(ids, count)],
            "event_timestamp": [*[0] * len(ids), *(int(one) for one in later)],
            "created": [int(one) for one in random.permutation(count + len(ids))],
            f"{key[:4]}_value": random.random(count + len(ids)).astype(np.float32),
        }
    views = [
        view(folder, f"of_{key[:4]}", [entity], tables[key], {f"{key[:4]}_value": Float32}, created="created")
        for key, entity in (("user_id", USER), ("item_id", ITEM))
    ]
    return views, tables


def random_rows(random) -> pd.DataFrame:
    users, items = random.choice(["u0", "u1", "u2", "u3"], 25), random.choice(["i0", "i1", "i2"], 25)
    return asked(users, random.permutation(45)[:25], item_id=items)


REFERENCES = ["of_user:user_value", "of_item:item_value"]


@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_feasts_own_file_store_on_known_entities(tmp_path, seed):
    # Of two rows of one instant Feast's dask store takes any, since it sorts twice and not stably.
    random = np.random.default_rng(seed)
    views, _ = random_views(tmp_path, random, ties=False)
    rows = random_rows(random)
    ours = store_of(tmp_path / "asof", views).get_historical_features(rows, REFERENCES).to_df()
    theirs = store_of(tmp_path / "dask", views, "dask").get_historical_features(rows, REFERENCES).to_df()
    assert len(theirs) == len(ours) == 25
    matched = ours.merge(theirs, on=["user_id", "item_id", "event_timestamp"], suffixes=("", "_dask"))
    assert len(matched) == 25
    for column in ("user_value", "item_value"):
        np.testing.assert_array_equal(matched[column], matched[f"{column}_dask"])


@pytest.mark.parametrize("seed", range(2))
def test_is_what_the_definition_says_with_rows_of_one_instant(tmp_path, seed):
    random = np.random.default_rng(seed)
    views, tables = random_views(tmp_path, random, ties=True)
    rows = random_rows(random)
    ours = store_of(tmp_path / "asof", views).get_historical_features(rows, REFERENCES).to_df()
    for key, table in tables.items():
        _, at, created, values = table.values()
        for place, row in rows.iterrows():
            candidates = [
                (at[n], created[n], values[n])
                for n in range(len(at))
                if table[key][n] == row[key] and hours([at[n]])[0] <= row["event_timestamp"]
            ]
            assert ours[f"{key[:4]}_value"][place] == max(candidates)[2]

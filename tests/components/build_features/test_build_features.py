import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp import dsl, local

from components.build_features.build_features import FeaturePaths, build_features
from components.build_features.component import build_features as build_features_component
from components.build_features.config import LeakageConfig, SplitConfig
from components.validate.statistics import columns_of, read_schema, read_statistics
from feature_repo.errors import DataError
from feature_repo.online import OnlineFeatures
from feature_repo.spec import FeatureSpec
from feature_repo.tables import EVENTS, IMPRESSIONS, SPLITS

SPEC = {
    "user": [
        {"name": "user_id", "kind": "categorical", "source": {"column": "user_id"}, "used_by": ["filter"]},
        {"name": "city", "kind": "categorical", "source": {"column": "city"}},
        {"name": "events", "kind": "numeric", "source": {"aggregate": "count"}},
        {"name": "likes_1d", "kind": "numeric", "source": {"aggregate": "count", "of": "positive", "window_days": 1}},
        {"name": "rate", "kind": "numeric", "source": {"aggregate": "rate"}},
        {"name": "last_at", "kind": "timestamp", "source": {"aggregate": "last_timestamp"}},
        {"name": "recent", "kind": "sequence", "length": 3, "source": {"aggregate": "last"}},
        {"name": "seen", "kind": "sequence", "length": 99, "source": {"aggregate": "last"}, "used_by": ["filter"]},
        {
            "name": "taste",
            "kind": "embedding",
            "length": 2,
            "source": {"aggregate": "share", "of": "positive", "by": "tags", "values": ["x", "y"]},
        },
    ],
    "item": [
        {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
        {"name": "tags", "kind": "sequence", "length": 2, "source": {"column": "tags"}},
        {"name": "item_events", "kind": "numeric", "source": {"aggregate": "count"}},
        {"name": "item_rate", "kind": "numeric", "source": {"aggregate": "rate", "window_days": 2}},
    ],
    "context": [
        {"name": "hour", "kind": "categorical", "source": {"clock": "hour"}},
        {"name": "device", "kind": "categorical", "source": {"column": "device"}},
    ],
}
FEATURES = FeatureSpec.model_validate(SPEC)
HOUR = 3_600_000_000
# user, item, hour, positive: two rows of one instant, repeated items and a day's gap are among them.
ACTS = [
    ("u1", "a", 1, True),
    ("u2", "a", 2, False),
    ("u1", "b", 3, True),
    ("u1", "c", 3, False),
    ("u2", "b", 5, True),
    ("u3", "a", 8, True),
    ("u1", "a", 30, True),
    ("u2", "c", 31, False),
    ("u3", "b", 40, True),
    ("u1", "b", 41, False),
]
INPUTS = ("events", "impressions", "users", "items")
OUTPUTS = ("examples", "user_features", "item_features", "training_statistics", "training_schema")


def write_inputs(folder: Path, acts) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    events = [
        {"user_id": user, "item_id": item, "event_type": "view", "timestamp": hour * HOUR, "positive": positive}
        for user, item, hour, positive in acts
    ]
    shown = [
        {
            "request_id": f"r{place}",
            "user_id": user,
            "item_id": item,
            "timestamp": hour * HOUR,
            "label": int(positive),
            "position": place,
            "propensity": [0.25, None][place % 2],
            "device": ["phone", None][place % 2],
        }
        for place, (user, item, hour, positive) in enumerate(acts)
    ]
    schema = pa.schema([*IMPRESSIONS, pa.field("device", pa.string())])
    pq.write_table(pa.Table.from_pylist(events, EVENTS), folder / "events")
    pq.write_table(pa.Table.from_pylist(shown, schema), folder / "impressions")
    pq.write_table(pa.table({"user_id": ["u1", "u2", "new"], "city": ["Ulm", None, "Bern"]}), folder / "users")
    pq.write_table(pa.table({"item_id": list("abc"), "tags": [["x"], ["x", "y"], ["y"]]}), folder / "items")


def run(folder: Path, acts=ACTS, split=None, features=FEATURES, leakage=None) -> dict[str, int]:
    write_inputs(folder, acts)
    paths = FeaturePaths(*(folder / name for name in (*INPUTS, *OUTPUTS)))
    split, leakage = split or SplitConfig(), leakage or LeakageConfig()
    return build_features("tiny", features, split, leakage, folder / "feature_store", paths)


def examples_in(folder: Path) -> list[dict]:
    return [row for name in SPLITS for row in pq.read_table(folder / f"{name}.parquet").to_pylist()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, run(folder)


def test_rows_are_counted(built):
    _, rows = built
    assert {name: rows[name] for name in SPLITS} == {"train": 8, "validation": 1, "test": 1}
    assert rows["user_filters"] == rows["online_user_features"] == 4  # new has no event, u3 no attributes
    assert rows["online_item_features"] == 3


def test_examples_have_the_columns_that_trainers_read(built):
    table = pq.read_table(built[0] / "examples" / "train.parquet")
    features = ["city", "events", "likes_1d", "rate", "last_at", "recent", "taste", "tags", "item_events", "item_rate"]
    assert table.column_names == [
        *("request_id", "user_id", "item_id", "timestamp", "label", "position", "propensity"),
        *features,
        *("hour", "device"),
    ]


def test_examples_hold_what_was_known_at_their_instants(built):
    rows = {row["request_id"]: row for row in examples_in(built[0] / "examples")}
    first = rows["r0"]
    assert (first["events"], first["recent"], first["last_at"], first["taste"]) == (0, None, None, None)
    assert first["rate"] == 0.5
    # r2 and r3 are of one instant: neither sees the other, both see r0.
    for request in ("r2", "r3"):
        assert (rows[request]["events"], rows[request]["recent"]) == (1, ["a"])
    # At 30 h: u1 had a, b and c; the likes of 1 h and 3 h are more than a day old.
    later = rows["r6"]
    assert (later["events"], later["likes_1d"], later["recent"]) == (3, 0, ["b", "c", "a"])
    assert later["last_at"] == 3 * 3600
    assert later["rate"] == pytest.approx((2 + 10 * 0.5) / (3 + 10))
    assert later["taste"] == [1.0, 0.5]  # likes a (x) and b (x, y)
    assert later["item_events"] == 3  # a, of u1, u2 and u3
    assert later["item_rate"] == pytest.approx((2 + 10 * 0.5) / (3 + 10))
    assert (later["hour"], later["device"], later["city"], later["tags"]) == ("6", "phone", "Ulm", ["x"])
    assert (rows["r5"]["city"], rows["r5"]["device"]) == (None, None)


def test_examples_keep_where_an_item_stood_and_how_likely_it_was(built):
    rows = {row["request_id"]: (row["position"], row["propensity"]) for row in examples_in(built[0] / "examples")}
    assert (rows["r2"], rows["r3"]) == ((2, 0.25), (3, None))


def test_no_row_sees_its_own_event_or_a_later_one(built):
    for row in examples_in(built[0] / "examples"):
        at = row["timestamp"].timestamp() / 3600
        past = [act for act in ACTS if act[0] == row["user_id"] and act[2] < at]
        of_item = [act for act in ACTS if act[1] == row["item_id"] and act[2] < at]
        assert row["events"] == len(past)
        assert row["item_events"] == len(of_item)
        assert set(row["recent"] or ()) <= {act[1] for act in past}


@pytest.mark.parametrize("changed", range(4, len(ACTS)))
def test_changing_an_event_changes_no_row_up_to_its_instant(built, tmp_path, changed, monkeypatch):
    monkeypatch.setattr("components.build_features.build_features.generate_statistics", lambda table: None)
    monkeypatch.setattr("components.build_features.build_features.schema_from_features", lambda *given: None)
    for write in ("write_statistics", "write_schema", "materialise"):
        monkeypatch.setattr(f"components.build_features.build_features.{write}", lambda *given: {})
    user, item, hour, positive = ACTS[changed]
    other = {"a": "b", "b": "c", "c": "a"}[item]
    acts = [*ACTS[:changed], (user, other, hour, not positive), *ACTS[changed + 1 :]]
    run(tmp_path, acts)
    before = {row["request_id"]: row for row in examples_in(built[0] / "examples")}
    after = {row["request_id"]: row for row in examples_in(tmp_path / "examples")}
    of_the_user = ("events", "likes_1d", "rate", "last_at", "recent", "taste")
    of_the_item = ("item_events", "item_rate")
    for request, row in before.items():
        if int(request[1:]) == changed:
            # Its own item is another one now; what was known of the user before is not.
            assert {name: row[name] for name in of_the_user} == {name: after[request][name] for name in of_the_user}
        elif row["timestamp"].timestamp() <= hour * 3600:
            assert row == after[request]
    later = [request for request, row in before.items() if row["timestamp"].timestamp() > hour * 3600]
    moved = [r for r in later if any(before[r][name] != after[r][name] for name in (*of_the_user, *of_the_item))]
    # The test would prove nothing if the change had no effect at all.
    assert bool(moved) == (changed not in (7, 9))


def test_statistics_and_schema_are_those_of_the_training_rows(built):
    folder, _ = built
    columns = columns_of(read_statistics(folder / "training_statistics"))
    wanted = {"item_id", "city", "events", "likes_1d", "rate", "last_at", "recent", "taste"}
    wanted |= {"tags", "item_events", "item_rate", "hour", "device"}
    assert set(columns) == wanted
    assert columns["events"].num_stats.common_stats.num_non_missing == 8
    assert columns["events"].num_stats.max == 3
    assert {feature.name for feature in read_schema(folder / "training_schema").feature} == wanted


def test_online_store_holds_what_follows_the_last_event(built):
    folder, _ = built
    found = OnlineFeatures(folder / "feature_store", FEATURES).user("u1")
    assert (found["events"], found["likes_1d"], found["seen"]) == (5, 1, ["b", "a", "b", "c", "a"])
    assert found["recent"] == ["b", "a", "b"]


def test_nothing_half_written_is_left(built):
    assert list(built[0].rglob("*.partial")) == []


def test_empty_window_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="the validation window is empty"):
        run(tmp_path, ACTS[:2])
    assert not (tmp_path / "examples").exists()


def test_column_that_is_missing_is_refused(tmp_path):
    user = [{"name": "age", "kind": "numeric", "source": {"column": "age"}}]
    with pytest.raises(DataError, match="feature `age` takes column `age`, which users do not have"):
        run(tmp_path, features=FeatureSpec.model_validate({**SPEC, "user": user}))


# Every second act is positive, and `write_inputs` gives every second one a device.
TOLD_BY_DEVICE = [(f"u{place % 7}", "abc"[place % 3], place, place % 2 == 0) for place in range(600)]


def test_feature_that_knows_the_label_is_refused_before_anything_is_learned_or_served(tmp_path):
    with pytest.raises(DataError, match=r"`device` \(AUC 1.000 by whether it is present, 1.000 in the validation"):
        run(tmp_path, TOLD_BY_DEVICE)
    assert (tmp_path / "examples" / "leakage.json").exists()
    assert not (tmp_path / "training_statistics").exists()
    assert OnlineFeatures(tmp_path / "feature_store", FEATURES).user("u1").get("events") is None


def test_feature_that_knows_the_label_is_taken_when_the_check_is_off(tmp_path):
    assert run(tmp_path, TOLD_BY_DEVICE, leakage=LeakageConfig(check=False))["train"] == 480


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def provide(
    folder: str,
    events: dsl.Output[dsl.Dataset],
    impressions: dsl.Output[dsl.Dataset],
    users: dsl.Output[dsl.Dataset],
    items: dsl.Output[dsl.Dataset],
):
    import shutil

    for artifact in (events, impressions, users, items):
        shutil.copy(f"{folder}/{artifact.name}", artifact.path)


@dsl.pipeline(name="features")
def features_pipeline(folder: str, config: str, feature_store: str) -> dsl.Dataset:
    raw = provide(folder=folder)
    tables = {name: raw.outputs[name] for name in INPUTS}
    return build_features_component(config=config, feature_store=feature_store, **tables).outputs["examples"]


def test_component_runs_under_kfp(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    write_inputs(tmp_path / "raw", ACTS)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "artifacts"))
    sections = {"split": SplitConfig().model_dump(), "leakage": LeakageConfig().model_dump()}
    project = json.dumps({"name": "tiny", "features": SPEC, **sections})
    task = features_pipeline(
        folder=str(tmp_path / "raw"), config=project, feature_store=str(tmp_path / "feature_store")
    )
    assert examples_in(Path(task.output.path)) == examples_in(built[0] / "examples")

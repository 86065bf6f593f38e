import gzip
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp import local

from components.ingest.component import ingest as ingest_component
from components.ingest.config import IngestConfig
from components.ingest.ingest import IngestPaths, ingest
from feature_repo.errors import ConfigError, DataError
from feature_repo.tables import EVENTS, IMPRESSIONS

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
T0 = 1_700_000_000

EVENT_LINES = [
    "user,item,stars,at",
    f"u1,i1,5,{T0 + 20}",
    f"u2,i1,4,{T0 + 10}",
    f"u1,i2,3,{T0 + 20}",
    f"u1,i3,,{T0 + 30}",
]
USER_LINES = ["id,age,since", "u1,31,2020-01-02T03:04:05Z", "u2,,2021-01-01"]
ITEM_LINES = ["id,tags,pages", "i1,a|b,300", "i2,,12", "i3,c,1"]


def table(uri, columns, **more):
    return {"uri": uri, "format": "csv", "columns": columns, **more}


def make_config(**changes):
    raw = {
        "root": "unused",
        "events": table(
            "events.csv",
            {
                "user_id": {"column": "user"},
                "item_id": {"column": "item"},
                "value": {"column": "stars"},
                "timestamp": {"column": "at", "unit": "s"},
            },
            constants={"event_type": "rating"},
        ),
        "users": table(
            "users.csv",
            {
                "user_id": {"column": "id"},
                "age": {"column": "age", "type": "number"},
                "since": {"column": "since", "type": "timestamp"},
            },
        ),
        "items": table(
            "items.csv",
            {
                "item_id": {"column": "id"},
                "tags": {"column": "tags", "type": "list", "split": "|"},
                "pages": {"column": "pages", "type": "integer"},
            },
        ),
        "positive": {"value_at_least": 4},
        "max_reject_share": 0.5,
        **changes,
    }
    return IngestConfig.model_validate(raw)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "events.csv").write_text("\n".join(EVENT_LINES) + "\n")
    (tmp_path / "users.csv").write_text("\n".join(USER_LINES) + "\n")
    (tmp_path / "items.csv").write_text("\n".join(ITEM_LINES) + "\n")
    return tmp_path


def run(place, config=None):
    names = ("events", "impressions", "users", "items", "quarantine")
    paths = IngestPaths(*(place / "out" / f"{name}.parquet" for name in names))
    report = ingest(config or make_config(), str(place), paths, NOW)
    return report, {name: pq.read_table(getattr(paths, name)) for name in names}


def quarantined(place):
    return pq.read_table(place / "out" / "quarantine.parquet").to_pylist()


def add(place, name, *lines):
    with open(place / name, "a") as file:
        file.write("\n".join(lines) + "\n")


def events_mapping(**changes):
    raw = make_config().model_dump()["events"]
    return {**raw, **changes}


def test_events_are_canonical_and_ordered(place):
    _, tables = run(place)
    assert tables["events"].schema == EVENTS
    rows = [
        (r["timestamp"].timestamp() - T0, r["user_id"], r["item_id"], r["value"], r["positive"], r["event_type"])
        for r in tables["events"].to_pylist()
    ]
    assert rows == [
        (10, "u2", "i1", 4.0, True, "rating"),
        (20, "u1", "i1", 5.0, True, "rating"),
        (20, "u1", "i2", 3.0, False, "rating"),
        (30, "u1", "i3", None, False, "rating"),
    ]  # fmt: skip


def test_every_event_is_an_impression_when_none_are_given(place):
    _, tables = run(place)
    assert tables["impressions"].schema == IMPRESSIONS
    first, *_, last = tables["impressions"].to_pylist()
    assert first["request_id"] == "u2-i1-1700000010000000"
    assert (first["label"], last["label"]) == (1, 0)
    assert first["propensity"] is None


def test_attributes_have_their_declared_types(place):
    _, tables = run(place)
    assert tables["users"].to_pylist() == [
        {"user_id": "u1", "age": 31.0, "since": datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)},
        {"user_id": "u2", "age": None, "since": datetime(2021, 1, 1, tzinfo=UTC)},
    ]
    assert tables["items"].to_pylist() == [
        {"item_id": "i1", "tags": ["a", "b"], "pages": 300},
        {"item_id": "i2", "tags": None, "pages": 12},
        {"item_id": "i3", "tags": ["c"], "pages": 1},
    ]
    assert tables["items"].schema.field("pages").type == pa.int64()


def test_report_counts(place):
    add(place, "events.csv", f"stranger,i1,1,{T0}", f"u1,i9,1,{T0 - 1}")
    report, _ = run(place)
    assert (report.tables["events"].read, report.tables["events"].kept) == (6, 6)
    assert (report.positives, report.impressions) == (2, 6)
    assert (report.unknown_user_events, report.unknown_item_events) == (1, 1)
    assert report.first == datetime.fromtimestamp(T0 - 1, UTC)
    assert report.metrics()["rejected_events"] == 0


@pytest.mark.parametrize(
    ("line", "reason", "value"),
    [
        (f",i1,5,{T0}", "user_id is missing", ""),
        (f"  ,i1,5,{T0}", "user_id is missing", "  "),
        (f"u1,,5,{T0}", "item_id is missing", ""),
        (f"u1,i1,five,{T0}", "value is not a number", "five"),
        (f"u1,i1,inf,{T0}", "value is not a number", "inf"),
        ("u1,i1,5,", "timestamp is missing", ""),
        ("u1,i1,5,yesterday", "timestamp is not a timestamp", "yesterday"),
        ("u1,i1,5,-5", "timestamp lies before 1970", "-5"),
        ("u1,i1,5,1714565101", "timestamp lies in the future", "1714565101"),  # NOW + 301 s
        (f"u1,i1,5,{T0},more", "wrong number of fields", f"u1,i1,5,{T0},more"),
        (f"u1,i1,5,{T0 + 20}", "duplicate event", None),
    ],
)
def test_bad_rows_go_to_the_quarantine(place, line, reason, value):
    add(place, "events.csv", line, f"u2,i2,1,{T0}")
    report, tables = run(place)
    assert report.tables["events"].rejected == {reason: 1}
    assert tables["events"].num_rows == 5
    (row,) = quarantined(place)
    assert (row["table"], row["row"], row["reason"], row["value"]) == ("events", 5, reason, value)
    assert row["source"].endswith("events.csv")
    raw = json.loads(row["raw"])
    fields = line.split(",")
    expected = {"line": line} if len(fields) > 4 else dict(zip(["user", "item", "stars", "at"], fields, strict=True))
    assert raw == expected


def test_timestamp_just_allowed_is_kept(place):
    add(place, "events.csv", "u1,i1,5,1714565100")  # NOW + 300 s
    assert run(place)[0].tables["events"].kept == 5


def test_values_that_count_as_missing_are_not_rejected(place):
    config = make_config(events=events_mapping(columns={
        **events_mapping()["columns"], "value": {"column": "stars", "missing": ["", "n/a"]}}))  # fmt: skip
    add(place, "events.csv", f"u2,i3,n/a,{T0}", f"u2,i2,nan,{T0}")
    report, tables = run(place, config)
    assert report.tables["events"].rejected == {}
    assert tables["events"].column("value").to_pylist()[:2] == [None, None]


def test_first_of_duplicate_ids_is_kept(place):
    add(place, "users.csv", "u1,99,2020-01-01", "u3,7,2020-01-01")
    report, tables = run(place)
    assert report.tables["users"].rejected == {"duplicate user_id": 1}
    assert tables["users"].column("age").to_pylist() == [31.0, None, 7.0]
    (row,) = quarantined(place)
    assert (row["row"], row["value"]) == (3, "u1")
    assert json.loads(row["raw"]) == {"id": "u1", "age": "99", "since": "2020-01-01"}


def test_whole_numbers_only_where_declared(place):
    add(place, "items.csv", "i4,a,12.0", "i5,a,1.5")
    report, tables = run(place)
    assert report.tables["items"].rejected == {"pages is not a whole number": 1}
    assert tables["items"].column("pages").to_pylist()[-1] == 12


def test_too_many_rejected_rows_stop_ingestion(place):
    add(place, "events.csv", f"u1,i1,many,{T0}", f"u1,i1,lots,{T0}", f"u1,,5,{T0}")
    with pytest.raises(DataError) as raised:
        run(place, make_config(max_reject_share=0.4))  # 3 of 7 is 0.43
    message = str(raised.value)
    assert message.startswith("events: 3 of 7 rows are rejected, more than `ingest.max_reject_share` (0.4) allows. ")
    assert f"Most often: value is not a number (2 rows, such as 'many' in row 5 of {place}/events.csv)" in message
    assert f"All are in {place}/out/quarantine.parquet" in message
    assert "\n" not in message
    assert [path.name for path in (place / "out").iterdir()] == ["quarantine.parquet"]
    assert len(quarantined(place)) == 3


def test_as_many_rejected_rows_as_allowed_pass(place):
    add(place, "events.csv", f"u1,i1,many,{T0}", f"u1,i1,lots,{T0}", f"u1,,5,{T0}")
    assert run(place, make_config(max_reject_share=3 / 7))[0].tables["events"].kept == 4


def test_no_row_left_stops_ingestion_whatever_is_allowed(place):
    (place / "users.csv").write_text("id,age,since\n,1,2020-01-01\n")
    with pytest.raises(DataError, match="users: 1 of 1 rows are rejected, none is left"):
        run(place, make_config(max_reject_share=1.0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "events: there is no file at .*events.csv"),
        ("", "events: .*events.csv has no rows"),
        ("user,item,stars,at\n", "events: .*events.csv has no rows"),
        ("user,item,star,at\nu,i,1,2\n", "no column 'stars'. It has 'user', 'item', 'star', 'at'. Did you mean 'star'"),
        ("user;item;stars;at\nu;i;1;2\n", r"has no column 'at'. It has 'user;item;stars;at'. Mend .* `delimiter`"),
        ("user,item,at,at\nu,i,1,2\n", "has the column 'at' twice"),
    ],
)  # fmt: skip
def test_unusable_files_are_named(place, content, message):
    if content is None:
        (place / "events.csv").unlink()
    else:
        (place / "events.csv").write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        run(place)
    assert "\n" not in str(raised.value)


def test_text_that_is_not_utf8_is_named(place):
    (place / "users.csv").write_bytes("id,age,since\né,1,\n".encode("latin-1"))
    with pytest.raises(DataError, match="users.csv cannot be read as CSV .* must be UTF-8"):
        run(place)


def test_folders_globs_and_compression_are_read_as_one(place):
    folder = place / "days"
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(EVENT_LINES[:3]) + "\n")
    (folder / "b.csv.gz").write_bytes(gzip.compress(("\n".join([EVENT_LINES[0], *EVENT_LINES[2:]]) + "\n").encode()))
    (folder / "_SUCCESS").write_text("")
    (folder / "c.csv").write_text("")
    for uri in ("days", "days/*.csv*", str(folder), f"file://{folder}"):
        report, tables = run(place, make_config(events=events_mapping(uri=uri)))
        assert tables["events"].num_rows == 4
        assert report.tables["events"].rejected == {"duplicate event": 1}
        (row,) = quarantined(place)
        assert row["source"].endswith("b.csv.gz") and row["row"] == 1


def test_an_unknown_storage_is_named(place):
    with pytest.raises(DataError, match="events: nowhere://x cannot be read .* Check `ingest.events.uri`"):
        run(place, make_config(events=events_mapping(uri="nowhere://x")))


def test_parquet_of_pandas_types(place):
    frame = pd.DataFrame(
        {
            "user": [1.0, 2.0, None],
            "item": pd.Categorical(["i1", "i2", "i3"]),
            "stars": [5, 3, 1],
            "at": pd.to_datetime([T0 * 10**9 + 7, T0 * 10**9, T0 * 10**9]),
        }
    )
    frame.to_parquet(place / "events.parquet", version="2.6")
    mapping = events_mapping(uri="events.parquet", format="parquet")
    mapping["columns"] = {**mapping["columns"], "timestamp": {"column": "at"}}
    report, tables = run(place, make_config(events=mapping))
    assert [(r["user_id"], r["item_id"], r["value"]) for r in tables["events"].to_pylist()] == [
        ("1", "i1", 5.0),
        ("2", "i2", 3.0),
    ]
    assert report.tables["events"].rejected == {"user_id is missing": 1}
    assert tables["events"].column("timestamp")[0].as_py() == datetime.fromtimestamp(T0, UTC)


def test_parquet_lists_are_kept(place):
    pq.write_table(pa.table({"id": ["i1"], "tags": [["a", "", "b c"]], "pages": [3]}), place / "items.parquet")
    mapping = {**make_config().model_dump()["items"], "uri": "items.parquet", "format": "parquet"}
    _, tables = run(place, make_config(items=mapping))
    assert tables["items"].to_pylist() == [{"item_id": "i1", "tags": ["a", "b c"], "pages": 3}]


@pytest.mark.parametrize(("text", "split"), [("0.5|-2", "|"), ('"[0.5, -2]"', ",")])
def test_vectors_are_read_from_text(place, text, split):
    (place / "items.csv").write_text(f"id,looks\ni1,{text}\ni2,\ni3,0.5{split if split == '|' else ' '}x\n")
    mapping = table("items.csv", {"item_id": {"column": "id"}, "looks": {"column": "looks", "type": "vector"}})
    mapping["columns"]["looks"]["split"] = split
    _, tables = run(place, make_config(items=mapping))
    assert tables["items"].to_pylist() == [{"item_id": "i1", "looks": [0.5, -2.0]}, {"item_id": "i2", "looks": None}]
    assert [(r["reason"], r["value"]) for r in quarantined(place) if r["table"] == "items"][0][0] == (
        "looks is not a vector"
    )


def test_vectors_of_parquet_are_kept_and_broken_ones_rejected(place):
    looks = pa.array([[0.5, -2.0], [float("nan"), 1.0], None, [1.0, None]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["i1", "i2", "i3", "i4"], "looks": looks}), place / "items.parquet")
    columns = {"item_id": {"column": "id"}, "looks": {"column": "looks", "type": "vector"}}
    _, tables = run(place, make_config(items={"uri": "items.parquet", "format": "parquet", "columns": columns}))
    assert tables["items"].to_pylist() == [{"item_id": "i1", "looks": [0.5, -2.0]}, {"item_id": "i3", "looks": None}]
    assert tables["items"].schema.field("looks").type == pa.list_(pa.float32())


def test_number_as_timestamp_needs_its_unit(place):
    pq.write_table(pa.table({"user": ["u"], "item": ["i"], "stars": [1], "at": [T0]}), place / "events.parquet")
    mapping = events_mapping(uri="events.parquet", format="parquet")
    mapping["columns"] = {**mapping["columns"], "timestamp": {"column": "at"}}
    with pytest.raises(DataError, match="Set `ingest.events.columns.timestamp.unit`"):
        run(place, make_config(events=mapping))


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000)])
def test_units_of_timestamps(place, unit, factor):
    (place / "events.csv").write_text(f"user,item,stars,at\nu1,i1,5,{T0 * factor}\n")
    mapping = events_mapping()
    mapping["columns"] = {**mapping["columns"], "timestamp": {"column": "at", "unit": unit}}
    _, tables = run(place, make_config(events=mapping))
    assert tables["events"].column("timestamp")[0].as_py() == datetime.fromtimestamp(T0, UTC)


def test_zone_of_iso_timestamps_counts(place):
    (place / "events.csv").write_text("user,item,stars,at\nu1,i1,5,2024-01-01T02:00:00+02:00\nu1,i1,5,2024-01-01\n")
    mapping = events_mapping()
    mapping["columns"] = {**mapping["columns"], "timestamp": {"column": "at"}}
    report, tables = run(place, make_config(events=mapping))
    assert tables["events"].column("timestamp").to_pylist() == [datetime(2024, 1, 1, tzinfo=UTC)]
    assert report.tables["events"].rejected == {"duplicate event": 1}


def test_positive_rule_of_event_types(place):
    mapping = events_mapping(constants={})
    mapping["columns"] = {**mapping["columns"], "event_type": {"column": "item"}}
    _, tables = run(place, make_config(events=mapping, positive={"event_types": ["i1"], "value_at_least": 5}))
    assert tables["events"].column("positive").to_pylist() == [False, True, False, False]


def test_positive_rule_needs_its_column(place):
    mapping = events_mapping()
    mapping["columns"] = {c: m for c, m in mapping["columns"].items() if c != "value"}
    with pytest.raises(ConfigError, match="needs `ingest.events.columns` to map `value`"):
        run(place, make_config(events=mapping))


def test_context_columns_follow_the_canonical(place):
    mapping = events_mapping()
    mapping["columns"] = {**mapping["columns"], "device": {"column": "item"}}
    _, tables = run(place, make_config(events=mapping))
    assert tables["impressions"].column_names == [*IMPRESSIONS.names, "device"]
    assert tables["events"].column_names == [*EVENTS.names, "device"]
    assert tables["impressions"].column("device")[0].as_py() == "i1"


def impressions_config(**columns):
    mapping = events_mapping()
    mapping["columns"] = {**mapping["columns"], "request_id": {"column": "item"}}
    keys = ("user_id", "item_id", "timestamp")
    shown = {key: {"column": key, "unit": "s" if key == "timestamp" else None} for key in keys}
    return make_config(events=mapping, impressions=table("shown.csv", {**shown, **columns}))


def test_given_labels_are_used_and_checked(place):
    (place / "shown.csv").write_text(
        f"user_id,item_id,timestamp,label,p\nu1,i1,{T0},1,0.5\nu1,i2,{T0},0,1.5\nu1,i3,{T0},2,0.5\nu1,i4,{T0},0,\n"
    )
    config = impressions_config(label={"column": "label"}, propensity={"column": "p"})
    report, tables = run(place, config)
    assert report.tables["impressions"].rejected == {"label is neither 0 nor 1": 1, "propensity is not in (0, 1]": 1}
    assert tables["impressions"].schema == IMPRESSIONS
    assert [(r["item_id"], r["label"], r["propensity"]) for r in tables["impressions"].to_pylist()] == [
        ("i1", 1, 0.5),
        ("i4", 0, None),
    ]
    assert tables["impressions"].column("request_id")[0].as_py() == f"u1-i1-{T0}000000"


def test_labels_come_from_positive_events_of_the_request(place):
    # In `impressions_config` an event's request is named like its item: i1 was liked, i2 and i3 were not.
    lines = [f"u1,i1,{T0},i1", f"u1,i2,{T0},i2", f"u1,i9,{T0},i1", f"u1,i1,{T0},i7"]
    (place / "shown.csv").write_text("\n".join(["user_id,item_id,timestamp,request", *lines]) + "\n")
    _, tables = run(place, impressions_config(request_id={"column": "request"}))
    labels = {(r["item_id"], r["request_id"]): r["label"] for r in tables["impressions"].to_pylist()}
    assert labels == {("i1", "i1"): 1, ("i2", "i2"): 0, ("i9", "i1"): 0, ("i1", "i7"): 0}


def test_impressions_need_a_way_to_their_label(place):
    with pytest.raises(ConfigError, match="must map `label`, or both"):
        run(place, impressions_config())


def test_required_columns_must_be_mapped(place):
    with pytest.raises(ConfigError, match=r"`ingest.events.columns` must map `event_type`. Received: user_id, item_id"):
        run(place, make_config(events=events_mapping(constants={})))


def test_columns_that_recloop_makes_cannot_be_mapped(place):
    mapping = events_mapping()
    mapping["columns"] = {**mapping["columns"], "positive": {"column": "item"}}
    with pytest.raises(ConfigError, match="recloop makes `positive` itself"):
        run(place, make_config(events=mapping))


def test_config_root_is_used_when_no_other_is_given(place):
    paths = IngestPaths(*(place / "out" / name for name in "abcde"))
    assert ingest(make_config(root=str(place)), "", paths, NOW).tables["users"].kept == 2


def test_component_runs_under_kfp(place, monkeypatch):
    monkeypatch.chdir(place)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(place / "artifacts"))
    project = json.dumps({"ingest": make_config().model_dump(mode="json")})
    task = ingest_component(config=project, data_root=str(place))
    assert pq.read_table(task.outputs["events"].path).num_rows == 4
    assert task.outputs["metrics"].metadata["positives"] == 2


def test_future_is_counted_from_now(place):
    add(place, "events.csv", "u1,i1,5,1714565101")
    paths = IngestPaths(*(place / "out" / name for name in "abcde"))
    assert ingest(make_config(), str(place), paths, NOW + timedelta(seconds=1)).tables["events"].rejected == {}

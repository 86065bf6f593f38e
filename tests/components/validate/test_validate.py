import json
import re
import socket
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp.dsl import HTML, Artifact, Dataset, Metrics

from components.validate.component import validate as validate_component
from components.validate.statistics import columns_of, read_schema, read_statistics
from components.validate.validate import ReportPaths, TablePaths, validate
from feature_repo.errors import DataError
from feature_repo.spec import FeatureSpec
from feature_repo.tables import EVENTS, IMPRESSIONS

AT = datetime(2024, 1, 1, 12, tzinfo=UTC)
LATEST = datetime(2024, 2, 1, tzinfo=UTC)
SPEC = {
    "user": [
        {"name": "age", "kind": "numeric", "source": {"column": "age"}, "minimum": 0, "maximum": 120},
        {"name": "city", "kind": "categorical", "source": {"column": "city"}},
    ],
    "item": [{"name": "tags", "kind": "sequence", "length": 3, "source": {"column": "tags"}}],
}
PARTS = ("events", "impressions", "users", "items")
REPORTS = ("statistics", "schema", "data_docs", "statistics_report")


def events(items=("i1", "i2", "i1", "i2"), at=AT):
    columns = [["u1", "u1", "u2", "u3"], list(items), ["view"] * 4, [at] * 4, [None] * 4, [None] * 4, [None] * 4]
    return pa.table([*columns, [True, False, True, False]], schema=EVENTS)


def impressions(labels=(1, 0, 1, 0)):
    columns = [["r1", "r2", "r3", "r4"], ["u1", "u1", "u2", "u3"], ["i1", "i2", "i1", "i2"], [AT] * 4, [None] * 4]
    return pa.table([*columns, list(labels), [None] * 4], schema=IMPRESSIONS)


def users(**changes):
    columns = {"user_id": ["u1", "u2", "u3"], "age": [30.0, None, 50.0], "city": ["Ulm", "Bern", "Graz"]}
    return pa.table({**columns, **changes})


def items(**changes):
    return pa.table({"item_id": ["i1", "i2"], "tags": [["a", "b"], ["c"]], **changes})


@pytest.fixture
def run(tmp_path):
    def check(**tables):
        made = {"events": events(), "impressions": impressions(), "users": users(), "items": items(), **tables}
        for name, table in made.items():
            pq.write_table(table, tmp_path / name)
        reports = ReportPaths(*(tmp_path / "out" / name for name in REPORTS))
        paths = TablePaths(*(tmp_path / name for name in PARTS))
        return validate(FeatureSpec.model_validate(SPEC), paths, reports, LATEST)

    return check


def test_sound_data_passes_and_is_described(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("validation must not reach for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    report = run()
    assert report.failed("error") == report.failed("warning") == []
    assert report.metrics()["errors"] == 0
    assert report.metrics()["expectations"] > 30
    statistics = read_statistics(tmp_path / "out" / "statistics")
    assert [dataset.name for dataset in statistics.datasets] == list(PARTS)
    users_schema = {f.name: f for f in read_schema(tmp_path / "out" / "schema").feature[2].struct_domain.feature}
    assert users_schema["age"].float_domain.max == 120
    assert columns_of(statistics)["timestamp"].num_stats.max == AT.timestamp()


def test_values_that_only_the_sketch_makes_frequent_are_not_named(run, tmp_path):
    # TFDV counts each of 3,000 different values up to three times.
    run(users=users(user_id=["u1", "u2", "u3"]), items=pa.table({
        "item_id": [f"i{n}" for n in range(3000)], "tags": [["common"], ["rare"], ["common"]] * 1000
    }))  # fmt: skip
    page = (tmp_path / "out" / "statistics_report").read_text()
    assert "common (66.7%)" in page
    assert not re.search(r"i\d+ \(", page.split("<h2>items</h2>")[1])


def test_pages_need_nothing_from_elsewhere(run, tmp_path):
    run(users=users(city=["<i>Graz</i>", "<i>Graz</i>", "Ulm"]))
    for name in ("data_docs", "statistics_report"):
        page = (tmp_path / "out" / name).read_text()
        assert not re.search(r"https?://|<script|<link|src=", page)
        assert "<i>Graz" not in page
    assert "&lt;i&gt;Graz" in (tmp_path / "out" / "statistics_report").read_text()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"users": users(age=[30.0, 121.0, 50.0])},
            "users: expected that age lies between 0 and 120: 1 of 3 rows are not, such as age=121.0, user_id='u2'.",
        ),
        (
            {"users": users(user_id=["u1", "u1", "u3"])},
            "users: expected that user_id is unique: 2 of 3 rows are not, such as user_id='u1'; user_id='u1'.",
        ),
        ({"items": items(item_id=["i1", None])}, "items: expected that item_id is never missing: 1 of 2 rows are not"),
        ({"users": users().drop(["city"])}, "users: expected that city exists, for the feature city: no."),
        ({"items": items(tags=["a", "b"])}, "items: expected that tags (entries) exists and is a list"),
        (
            {"users": users(age=["30", "40", "50"])},
            "users: expected that age lies between 0 and 120: cannot be checked",
        ),
        ({"impressions": impressions((1, 1, 1, 1))}, "impressions: expected that label has both 0 and 1: observed 1."),
        ({"impressions": impressions((1, 0, 2, 0))}, "impressions: expected that label is 0 or 1: 1 of 4 rows are not"),
        ({"events": events(at=datetime(2024, 2, 2, tzinfo=UTC))}, "events: expected that timestamp lies between 1970"),
    ],
)
def test_unsound_data_stops_the_run(run, tmp_path, tables, message):
    with pytest.raises(DataError) as raised:
        run(**tables)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert "not met" in (tmp_path / "out" / "data_docs").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(REPORTS)


def test_doubtful_data_passes_with_warnings(run, capsys):
    report = run(users=users(city=["Ulm"] * 3), events=events(("i1", "i9", "i1", "i2")))
    assert [(f.expectation.table, f.expectation.column) for f in report.failed("warning")] == [
        ("events", "item_id (known)"),
        ("users", "city"),
    ]
    assert report.metrics()["warnings"] == 2
    shown = capsys.readouterr().out
    assert "recloop> warning: users: expected that city has at least 2 different values: observed 1" in shown
    assert "such as item_id (known)=False, user_id='u1', item_id='i9'" in shown


def test_component_writes_its_artifacts(run, tmp_path):
    run()
    source = {"uri": "x", "columns": {}}
    ingest = {"root": "r", "events": source, "users": source, "items": source, "positive": {}}
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    validate_component.python_func(
        config=json.dumps({"features": SPEC, "ingest": ingest}),
        **{name: Dataset(uri=str(tmp_path / name)) for name in PARTS},
        statistics=Artifact(uri=str(tmp_path / "new" / "statistics")),
        schema=Artifact(uri=str(tmp_path / "new" / "schema")),
        data_docs=HTML(uri=str(tmp_path / "new" / "data_docs")),
        statistics_report=HTML(uri=str(tmp_path / "new" / "statistics_report")),
        metrics=metrics,
    )
    assert metrics.metadata["errors"] == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(REPORTS)

import json
import re
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from kfp.dsl import HTML, Artifact, Metrics

from components.monitor.component import monitor as monitor_component
from components.monitor.config import MonitorConfig
from components.monitor.monitor import monitor
from components.validate.statistics import generate_statistics, schema_from_features, write_schema, write_statistics
from feature_repo.errors import DataError
from feature_repo.spec import FeatureSpec, history

NOW = datetime(2024, 1, 1, tzinfo=UTC)
N = 200
SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {"name": "age", "kind": "numeric", "source": {"column": "age"}, "minimum": 0, "maximum": 120},
            {"name": "city", "kind": "categorical", "source": {"column": "city"}},
            {"name": "seen_at", "kind": "timestamp", "source": {"aggregate": "last_timestamp"}},
            {"name": "seen", "kind": "sequence", "length": 5, "source": {"aggregate": "last"}, "used_by": ["filter"],
             "transform": {"type": "hash", "buckets": 10}},
        ],
        "item": [
            {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
            {"name": "price", "kind": "numeric", "source": {"column": "price"}, "minimum": 0},
        ],
        "context": [{"name": "hour", "kind": "categorical", "source": {"clock": "hour"}}],
    }
)  # fmt: skip
CONFIG = MonitorConfig(minimum_requests=50, drift_threshold=0.15)


def features(number):
    """Ages 20 to 59 and three cities, each as often as in training."""
    return {
        "age": float(20 + number % 40),
        "city": ("Ulm", "Bern", "Graz", "Graz")[number % 4],
        "seen_at": 1_000 + number,
        "hour": str(number % 24),
    }


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A store with release 3 live, trained on `features` and items i0 to i9 at prices 0 to 9."""
    store = tmp_path_factory.mktemp("releases")
    folder = store / "3"
    folder.mkdir()
    rows = [features(number) for number in range(N)]
    items = pa.table({"item_id": [f"i{n}" for n in range(10)], "price": pa.array([float(n) for n in range(10)])})
    training = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    training = training.append_column("item_id", pa.array([f"i{n % 10}" for n in range(N)]))
    training = training.append_column("price", pa.array([float(n % 10) for n in range(N)]))
    statistics = generate_statistics(training)
    inputs = [feature for side in ("user", "item", "context") for feature in history(SPEC.of(side))]
    write_statistics(statistics, folder / "training_statistics.pb")
    write_schema(schema_from_features(inputs, statistics), folder / "schema.pbtxt")
    (folder / "feature_spec.json").write_text(SPEC.model_dump_json())
    with pa.OSFile(str(folder / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, items.schema) as writer:
        writer.write_table(items)
    (store / "channels.json").write_text(json.dumps({"stable": 3, "revision": 1}))
    return store


@pytest.fixture
def served(tmp_path):
    """Records what was served; `change(number, features)` gives other features, `items` are shown every time."""

    def record(change=lambda number, row: row, count=N, items=("i1", "i2"), release=3, age_seconds=60.0):
        folder = tmp_path / "telemetry" / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "one.jsonl", "a") as file:
            for number in range(count):
                line = {
                    "schema_version": 1,
                    "request_id": str(number),
                    "release": release,
                    "timestamp": NOW.timestamp(),
                    "received_at": NOW.timestamp() - age_seconds,
                    "user_id": "u",
                    "features": change(number, features(number)),
                    "items": [{"item_id": item, "position": 1, "score": 0.5, "retrieval_score": 0.1} for item in items],
                    "stage_ms": {"ranking": 2.0},
                    "fallback": None,
                }
                file.write(json.dumps(line) + "\n")
        return tmp_path / "telemetry"

    return record


def run(release, telemetry, tmp_path, config=CONFIG):
    report = monitor(config, release, telemetry, tmp_path / "report.html", tmp_path / "findings.json", NOW)
    return report, json.loads((tmp_path / "findings.json").read_text())


def test_serving_like_training_is_healthy(release, served, tmp_path):
    report, written = run(release, served(), tmp_path)
    assert (report.status, report.findings) == ("healthy", [])
    assert written["status"] == "healthy"
    assert (written["release"], written["requests"]) == (3, N)
    assert written["distances"]["requests"] == {"age": 0.0, "city": 0.0, "hour": 0.0}


def test_moved_distributions_are_drift(release, served, tmp_path):
    report, written = run(release, served(lambda n, row: {**row, "city": "Ulm", "age": row["age"] + 50}), tmp_path)
    assert report.status == "drift"
    assert {(f["feature"], f["kind"]) for f in written["findings"]} == {("age", "drift"), ("city", "drift")}
    # Ulm had a quarter of the users and now has all.
    assert written["distances"]["requests"]["city"] == 0.75
    assert report.metrics()["drifted_features"] == 2


def test_threshold_decides_what_is_drift(release, served, tmp_path):
    # Of four users the one in Ulm is in Bern now: Bern went from a quarter to a half.
    telemetry = served(lambda n, row: {**row, "city": row["city"].replace("Ulm", "Bern")})
    below, _ = run(release, telemetry, tmp_path, CONFIG.model_copy(update={"drift_threshold": 0.26}))
    above, _ = run(release, telemetry, tmp_path, CONFIG.model_copy(update={"drift_threshold": 0.24}))
    assert (below.status, above.status) == ("healthy", "drift")


def test_time_and_choice_of_items_are_not_judged(release, served, tmp_path):
    telemetry = served(lambda n, row: {**row, "hour": "3", "seen_at": 10**9}, items=("i9",))
    report, written = run(release, telemetry, tmp_path)
    assert report.status == "healthy"
    assert written["distances"]["requests"]["hour"] > 0.9
    assert written["distances"]["shown items"]["item_id"] == 0.9
    assert "seen_at" not in written["distances"]["requests"]


@pytest.mark.parametrize(
    ("change", "feature", "text"),
    [
        (lambda n, row: {**row, "age": 121.0 if n == 7 else row["age"]}, "age", "Out-of-range values"),
        (lambda n, row: {**row, "age": str(row["age"])}, "age", "FLOAT but got STRING"),
        (lambda n, row: {**row, "city": None}, "city", "Column dropped"),
        (lambda n, row: {k: v for k, v in row.items() if k != "city"}, "city", "Column dropped"),
        (lambda n, row: {**row, "city": "Atlantis" if n % 20 == 0 else row["city"]}, "city", "Atlantis"),
    ],
)
def test_values_that_do_not_fit_the_schema_are_anomalies(release, served, tmp_path, change, feature, text):
    report, _ = run(release, served(change), tmp_path)
    assert report.status == "anomalies"
    assert report.findings[0].feature == feature
    assert text in report.findings[0].text


def test_shown_items_that_the_release_lacks_are_anomalies(release, served, tmp_path):
    report, _ = run(release, served(items=("i1", "gone")), tmp_path)
    assert report.status == "anomalies"
    assert report.findings[0].text == f"{N} shown items are not in release 3, most often 'gone' ({N})"


def test_answers_without_features_or_items_are_anomalies(release, served, tmp_path):
    report, _ = run(release, served(lambda n, row: {}, items=()), tmp_path)
    assert [(f.feature, f.kind) for f in report.findings] == [("requests", "anomaly"), ("shown items", "anomaly")]


def test_too_few_requests_are_not_judged(release, served, tmp_path, capsys):
    report, written = run(release, served(lambda n, row: {**row, "city": "Atlantis"}, count=49), tmp_path)
    assert (report.status, report.findings) == ("insufficient data", [])
    assert written["requests"] == 49
    assert "`monitor.minimum_requests` is 50" in capsys.readouterr().out
    assert "insufficient data" in (tmp_path / "report.html").read_text()


def test_only_the_window_of_the_live_release_counts(release, served, tmp_path):
    served(count=50, release=2)
    served(count=50, age_seconds=24 * 3600 + 1)
    report, written = run(release, served(count=49), tmp_path)
    assert (report.status, written["requests"], written["requests_of_other_releases"]) == ("insufficient data", 49, 50)


def test_page_needs_nothing_from_elsewhere(release, served, tmp_path):
    run(release, served(lambda n, row: {**row, "city": "<b>Ulm</b>"}), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|src=", page)
    assert "<b>Ulm" not in page and "&lt;b&gt;Ulm" in page


def test_without_a_live_release_there_is_a_remedy(served, tmp_path):
    with pytest.raises(DataError, match="no release is live in .*`recloop run`"):
        run(tmp_path / "releases", served(), tmp_path)


def test_without_telemetry_there_is_a_remedy(release, tmp_path):
    with pytest.raises(DataError, match="no request is recorded in .*/nothing/predictions. Start `recloop serve`"):
        run(release, tmp_path / "nothing", tmp_path)


def test_component_writes_its_artifacts(release, served, tmp_path):
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    monitor_component.python_func(
        config=json.dumps({"monitor": CONFIG.model_dump()}),
        release_store=str(release),
        telemetry=str(served()),
        report=HTML(uri=str(tmp_path / "new" / "report")),
        findings=Artifact(uri=str(tmp_path / "new" / "findings")),
        metrics=metrics,
    )
    # Requests of 2024 are long past the window by now.
    assert metrics.metadata["requests"] == 0
    assert json.loads((tmp_path / "new" / "findings").read_text())["status"] == "insufficient data"
    assert (tmp_path / "new" / "report").read_text().startswith("<!doctype html>")

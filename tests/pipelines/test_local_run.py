import io
import json

import pytest
from kfp import compiler, dsl

from feature_repo.errors import RecloopError
from pipelines.local_run import StepLog, execute


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def measure(text: str, table: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]):
    from feature_repo.progress import report_progress

    report_progress("half way")
    print("only for the log")
    with open(table.path, "w") as file:
        file.write(text)
    metrics.log_metric("length", len(text))


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def refuse(table: dsl.Input[dsl.Dataset]):
    from feature_repo.errors import DataError

    raise DataError("column `age` holds text. Received: 'old'. Mend the source.")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def crash(table: dsl.Input[dsl.Dataset]):
    raise ZeroDivisionError("surprise")


@dsl.pipeline(name="measured")
def measured(text: str = "from the default"):
    measure(text=text)


@dsl.pipeline(name="refused")
def refused():
    refuse(table=measure(text="x").outputs["table"])


@dsl.pipeline(name="crashed")
def crashed():
    crash(table=measure(text="x").outputs["table"])


RECORD = {"run_id": "r1", "pipeline": "training", "config_digest": "c", "code_revision": "v"}


def run(pipeline, tmp_path, arguments=None):
    package = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(package))
    shown = []
    show = lambda event, text, seconds: shown.append((event, text))  # noqa: E731
    try:
        return execute(package, tmp_path / "run", arguments or {}, RECORD, show), shown
    except RecloopError as error:
        return error, shown


def test_steps_progress_metrics_and_artifacts_are_recorded(tmp_path, capsys):
    record, shown = run(measured, tmp_path)
    assert shown == [("start", "measure"), ("progress", "half way"), ("end", "measure")]
    assert [(step.name, step.status, step.metrics) for step in record.steps] == [
        ("measure", "succeeded", {"length": 16.0})
    ]
    assert record.artifact("measure", "table").read_text() == "from the default"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "succeeded"
    assert "only for the log" in (tmp_path / "run" / "log.txt").read_text()
    assert capsys.readouterr().out == ""


def test_what_runs_is_the_compiled_file(tmp_path):
    package = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(measured, str(package))
    package.write_text(package.read_text().replace("from the default", "from the edited file"))
    record = execute(package, tmp_path / "run", {}, RECORD, lambda *_: None)
    assert record.artifact("measure", "table").read_text() == "from the edited file"


def test_error_that_a_user_can_mend_keeps_its_own_words(tmp_path):
    error, shown = run(refused, tmp_path)
    assert str(error) == "step refuse failed: column `age` holds text. Received: 'old'. Mend the source."
    assert shown[-1] == ("fail", "refuse")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert [step["status"] for step in record["steps"]] == ["succeeded", "failed"]


def test_error_that_is_a_bug_points_to_the_log(tmp_path):
    error, _ = run(crashed, tmp_path)
    assert isinstance(error, RecloopError)
    assert "step crash failed: it ended unexpectedly" in str(error)
    assert "ZeroDivisionError: surprise" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_are_understood_however_they_are_cut(size):
    text = "12:00 - INFO - Executing task \x1b[96m'ingest'\x1b[0m\n    recloop> 3 of 5\nnoise\n"
    shown = []
    log = StepLog(io.StringIO(), lambda event, text, seconds: shown.append((event, text)))
    for start in range(0, len(text), size):
        log.write(text[start : start + size])
    assert shown == [("start", "ingest"), ("progress", "3 of 5")]

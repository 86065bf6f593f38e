"""What a user can get wrong: one line that says what, where and the remedy, exit code 2, nothing half-written."""

import sys

import pytest
import yaml

from pipelines import cli
from tests.tiny_project import write_config, write_tiny_project


@pytest.fixture
def project(tmp_path):
    write_tiny_project(tmp_path)
    return tmp_path


@pytest.fixture
def refusal(project, monkeypatch, capsys):
    """Runs `recloop run`; returns the one line it ends with."""

    def run() -> str:
        home = project / "home"
        arguments = ["recloop", "run", "--config", str(project / "project.yaml"), "--home", str(home)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        printed = capsys.readouterr()
        lines = printed.err.strip().splitlines()
        assert len(lines) == 1
        assert "Traceback" not in printed.out
        assert not (home / "releases").exists()
        tables = ("events", "impressions", "users", "items")
        assert [path for table in tables for path in home.glob(f"runs/*/artifacts/*/ingest/{table}")] == []
        return lines[0]

    return run


def edit(project, name: str, change) -> None:
    path = project / "data" / name
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, *change(rows)]) + "\n", encoding="utf-8")


def test_missing_file(project, refusal):
    (project / "data" / "ml-100k.inter").unlink()
    line = refusal()
    assert "step ingest failed: events: there is no file at" in line
    assert "ml-100k.inter. Check `ingest.events.uri` and the data root." in line


def test_unknown_column(project, refusal):
    config = yaml.safe_load((project / "project.yaml").read_text())
    config["ingest"]["users"]["columns"]["age"]["column"] = "age:tokem"
    write_config(project, config)
    line = refusal()
    assert "ml-100k.user has no column 'age:tokem'" in line
    assert "Did you mean 'age:token'?" in line


def test_string_where_a_number_belongs(project, refusal):
    edit(project, "ml-100k.inter", lambda rows: [row.replace("\t5\t", "\tfive\t") for row in rows])
    line = refusal()
    assert "events" in line
    assert "value is not a number" in line
    assert "'five'" in line
    assert list((project / "home").glob("runs/*/artifacts/*/ingest/quarantine"))


def test_duplicate_ids(project, refusal):
    edit(project, "ml-100k.user", lambda rows: rows + rows)
    line = refusal()
    assert "users" in line
    assert "duplicate user_id" in line


def test_future_timestamps(project, refusal):
    edit(project, "ml-100k.inter", lambda rows: [row.rsplit("\t", 1)[0] + "\t99999999999" for row in rows])
    line = refusal()
    assert "events" in line
    assert "future" in line


def test_empty_window(project, refusal):
    edit(project, "ml-100k.inter", lambda rows: [])
    line = refusal()
    assert "events: " in line
    assert "has no rows" in line


def test_config_with_a_typo(project, refusal):
    config = yaml.safe_load((project / "project.yaml").read_text())
    config["ingest"]["evnts"] = config["ingest"].pop("events")
    write_config(project, config)
    line = refusal()
    assert "unknown key `ingest.evnts`. Remove it or mend its spelling." in line

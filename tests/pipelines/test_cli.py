import json
import sys

import pytest

from pipelines import cli


@pytest.fixture
def recloop(monkeypatch, capsys):
    """Runs the command line; returns (exit code, output, errors)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recloop", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.mark.parametrize(
    "command",
    [[], ["data"], ["data", "fetch"], ["run"], ["compile"], ["serve"], ["recommend"], ["releases"], ["monitor"]],
)
def test_every_command_explains_itself(recloop, command):
    code, out, _ = recloop(*command, "--help")
    assert code == 0
    assert "Usage:" in out
    assert len(out.splitlines()) > 5


def test_compile_writes_the_pipeline(recloop, tmp_path):
    path = tmp_path / "out" / "training.yaml"
    code, out, _ = recloop("compile", "--output", str(path))
    assert code == 0
    assert "movielens" in out
    assert path.read_text().startswith("# PIPELINE DEFINITION")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["compile", "trainning"], "there is no pipeline 'trainning'. Name one of: training, monitoring."),
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["recommend", "1", "--url", "http://127.0.0.1:9"], "no gateway answers at http://127.0.0.1:9"),
        (["data", "fetch", "movielens-1b"], "movielens-1b"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(recloop, tmp_path, arguments, complaint):
    code, out, err = recloop(*arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("recloop: ")
    assert complaint in err


def test_serving_without_a_release_says_how_to_make_one(recloop, tmp_path):
    code, _, err = recloop("serve", "--home", str(tmp_path))
    assert code == 2
    assert "`recloop run`" in err


def test_unknown_option_is_exit_code_2(recloop):
    assert recloop("run", "--nonsense")[0] == 2


def test_no_release_yet(recloop, tmp_path):
    code, out, _ = recloop("releases", "--home", str(tmp_path / "absent"))
    assert code == 0
    assert "There is no release yet" in out
    assert json.loads(recloop("releases", "--home", str(tmp_path / "absent"), "--json")[1]) == []
    assert not (tmp_path / "absent").exists()

"""Executes a compiled pipeline on this machine with `kfp.local`.

KFP writes everything, its own notes and the steps' output, to standard output. It goes to the run's log instead,
and the person sees a line a step with its time, and the steps' own progress beneath it.
"""

import contextlib
import io
import json
import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from feature_repo.errors import RecloopError
from feature_repo.files import write_file
from feature_repo.progress import MARK

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"Executing task '([^']+)'")
_ENDED = re.compile(r"Task '([^']+)' finished with status (SUCCESS|FAILURE)")
_MENDABLE = re.compile(r"^feature_repo\.errors\.\w+: (.+)$")


@dataclass
class StepRecord:
    """How one step went. `metrics` are what the step logged as KFP Metrics."""

    name: str
    status: str
    seconds: float
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """How a run went; `run.json` in the run's folder."""

    run_id: str
    pipeline: str
    config_digest: str
    code_revision: str
    status: str
    seconds: float
    steps: list[StepRecord]
    artifacts: dict[str, dict[str, str]]
    reports: list[str]

    def artifact(self, step: str, name: str) -> Path:
        """Where a step's output artifact lies."""
        return Path(self.artifacts[step][name])


class StepLog(io.TextIOBase):
    """Standard output of a run: everything to the log file, steps and progress to the person."""

    def __init__(self, log: TextIO, show: Callable[[str, str, float], None]):
        """Takes the log and `show(event, text, seconds)`; events are `start`, `end`, `fail` and `progress`."""
        self._log = log
        self._show = show
        self._line = ""
        self._started = 0.0
        self.steps: list[StepRecord] = []
        self.mendable_error: str | None = None

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Takes output in pieces of any size."""
        self._log.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._take(_ESCAPES.sub("", line).strip())
        return len(text)

    def flush(self) -> None:
        """Flushes the log file."""
        self._log.flush()

    def _take(self, line: str) -> None:
        if started := _STARTED.search(line):
            self._started = time.monotonic()
            self._show("start", started[1], 0.0)
        elif ended := _ENDED.search(line):
            seconds = time.monotonic() - self._started
            succeeded = ended[2] == "SUCCESS"
            self.steps.append(StepRecord(ended[1], "succeeded" if succeeded else "failed", round(seconds, 2)))
            self._show("end" if succeeded else "fail", ended[1], seconds)
        elif line.startswith(MARK):
            self._show("progress", line.removeprefix(MARK).strip(), time.monotonic() - self._started)
        elif mendable := _MENDABLE.match(line):
            self.mendable_error = mendable[1]


def execute(
    package: Path,
    folder: Path,
    arguments: Mapping[str, str],
    record: Mapping[str, str],
    show: Callable[[str, str, float], None],
) -> RunRecord:
    """Runs the compiled pipeline `package` step by step, each in a process of its own.

    Args:
        package: the compiled IR YAML; it, and not the Python function, is what is executed.
        folder: of this run; gets `log.txt`, `run.json` and the artifacts.
        arguments: pipeline parameters that differ from the package's defaults.
        record: run_id, pipeline, config_digest and code_revision for the run's record.
        show: told of every step, see `StepLog`.

    Raises:
        RecloopError: when a step fails; with the step's own message where the user can mend it.
    """
    from kfp import components, local

    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    failure: Exception | None = None
    with open(folder / "log.txt", "w", encoding="utf-8") as log, warnings.catch_warnings(), _quiet_steps():
        warnings.simplefilter("ignore")
        local.init(
            runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "artifacts"), raise_on_error=True
        )
        output = StepLog(log, show)
        with contextlib.redirect_stdout(output):
            try:
                components.load_component_from_file(str(package))(**arguments)
            except Exception as error:
                failure = error
                log.write(f"\n{type(error).__name__}: {error}\n")

    artifacts = _collect(folder / "artifacts", output.steps)
    reports = _keep_reports(artifacts, folder / "reports")
    finished = RunRecord(
        run_id=record["run_id"],
        pipeline=record["pipeline"],
        config_digest=record["config_digest"],
        code_revision=record["code_revision"],
        status="failed" if failure else "succeeded",
        seconds=round(time.monotonic() - begun, 2),
        steps=output.steps,
        artifacts=artifacts,
        reports=reports,
    )
    write_file((json.dumps(asdict(finished), indent=2) + "\n").encode(), folder / "run.json")
    if failure:
        step = output.steps[-1].name if output.steps else "the first step"
        reason = output.mendable_error or f"it ended unexpectedly; its output is in {folder / 'log.txt'}."
        raise RecloopError(f"step {step} failed: {reason}") from failure
    return finished


@contextlib.contextmanager
def _quiet_steps() -> Any:
    """Keeps TensorFlow's start-up notes out of the steps' output, and bytecode on: imports are slow without it."""
    wanted = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
    before = {key: os.environ.get(key) for key in (*wanted, "PYTHONDONTWRITEBYTECODE")}
    os.environ.update(wanted)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    level = logging.getLogger().level
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _collect(root: Path, steps: list[StepRecord]) -> dict[str, dict[str, str]]:
    """Artifact paths by step and name; fills in the steps' metrics."""
    artifacts: dict[str, dict[str, str]] = {}
    by_name = {step.name: step for step in steps}
    for path in sorted(root.glob("*/*/executor_output.json")):
        outputs = json.loads(path.read_text(encoding="utf-8")).get("artifacts", {})
        step = path.parent.name
        artifacts[step] = {}
        for name, listed in outputs.items():
            for artifact in listed["artifacts"]:
                artifacts[step][name] = artifact["uri"]
                if name == "metrics" and step in by_name:
                    by_name[step].metrics.update(artifact.get("metadata", {}))
    return artifacts


def _keep_reports(artifacts: dict[str, dict[str, str]], folder: Path) -> list[str]:
    """Copies HTML artifacts, whose paths have no suffix, to names that a browser opens; returns the copies."""
    kept = []
    for step, outputs in artifacts.items():
        for name, uri in outputs.items():
            path = Path(uri)
            if path.is_file() and path.read_bytes()[:15].lower() == b"<!doctype html>":
                folder.mkdir(exist_ok=True)
                copy = folder / f"{step}-{name}.html".replace("_", "-")
                shutil.copyfile(path, copy)
                kept.append(str(copy))
    return kept

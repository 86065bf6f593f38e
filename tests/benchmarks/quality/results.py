"""Runs contestants, keeps what they answered, and makes the figures of the table."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.progress import report_progress
from tests.benchmarks.quality.contestants.registry import CONTESTANTS
from tests.benchmarks.quality.problem import Phase
from tests.benchmarks.quality.ranks import METRICS
from tests.benchmarks.quality.tuning import Budget
from trainer.metrics import bootstrap_interval

BOOTSTRAP_SAMPLES = 1000
WITH_INTERVAL = ("ndcg_at_10", "recall_at_100")
OURS = "funnel"
PARTS = ("retrieval alone", "funnel, refitted", "retrieval alone, refitted")
CHECKOUT = Path(__file__).resolve().parents[3]
HARNESS = ("problem.py", "ranks.py", "tuning.py", "contest.py")
PRODUCT = ("components", "feature_repo", "trainer", "pipelines/configs")


@dataclass(frozen=True)
class Entry:
    """What one contestant gave on one protocol.

    Attributes:
        record: trials, the best of them, seconds.
        ranks: [p] of the test pairs by the name of the list.
        extra: arrays that came with them.
    """

    record: Mapping[str, Any]
    ranks: Mapping[str, np.ndarray]
    extra: Mapping[str, np.ndarray]


def run_contestant(name: str, problem: Path, out: Path, budget: Budget, peers_python: Path) -> Entry | str:
    """Runs a contestant in its own environment, unless nothing has changed since it ran.

    Args:
        name: of the contestant.
        problem: the problem's file.
        out: where its files go, without a suffix.
        budget: of tuning.
        peers_python: interpreter of the peers' environment.

    Returns:
        What it gave, or why it gave nothing.
    """
    contestant = CONTESTANTS[name]
    python = Path(sys.executable) if contestant.environment == "main" else peers_python
    if not python.exists():
        return f"{python} is missing: `make bench-quality` makes the peers' environment"
    digest = _digest(name, problem, budget)
    stored = out.with_suffix(".json")
    record = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    if record.get("digest") == digest:
        return _read(out, record)
    out.parent.mkdir(parents=True, exist_ok=True)
    stored.unlink(missing_ok=True)
    if name == "funnel":
        # Models of another state of the code.
        shutil.rmtree(problem.parent / "models", ignore_errors=True)
    command = [str(python), "-m", "tests.benchmarks.quality.contest", name, "--problem", str(problem)]
    command += ["--trials", str(budget.trials), "--seconds", str(budget.seconds), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if contestant.environment != "main":
        # Factor models thread themselves; threads within threads only get in each other's way.
        environment["OPENBLAS_NUM_THREADS"] = "1"
    log = out.with_suffix(".log")
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=file, text=True
        )
        for line in process.stdout or ():
            file.write(line)
            if line.startswith("trial "):
                report_progress(f"  {contestant.name}: {line.strip()}")
        code = process.wait()
    if code:
        last = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return f"failed: {last[-1] if last else 'without a word'} (see {log})"
    record = json.loads(stored.read_text(encoding="utf-8")) | {"digest": digest}
    stored.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return _read(out, record)


def figures(phase: Phase, ranks: np.ndarray) -> dict[str, Any]:
    """Every metric's mean over the queries, with the intervals of those that the table gives one."""
    users = phase.query_users
    found: dict[str, Any] = {}
    for name, metric in METRICS.items():
        values = metric(ranks, phase.pair_queries)
        found[name] = float(values.mean())
        if name in WITH_INTERVAL:
            interval = bootstrap_interval(values, users, BOOTSTRAP_SAMPLES)
            found[f"{name}.interval"] = [interval.low, interval.high]
    return found


def difference(phase: Phase, ours: np.ndarray, theirs: np.ndarray, metric: str) -> list[float]:
    """Mean paired difference, query by query, and its interval over users: [mean, low, high]."""
    values = METRICS[metric](ours, phase.pair_queries) - METRICS[metric](theirs, phase.pair_queries)
    interval = bootstrap_interval(values, phase.query_users, BOOTSTRAP_SAMPLES)
    return [interval.mean, interval.low, interval.high]


def best_peer(rows: Mapping[str, Mapping[str, Any]], metric: str) -> str | None:
    """The row with the highest metric that is not the project's own."""
    peers = [name for name in rows if name not in (OURS, *PARTS)]
    return max(peers, key=lambda name: rows[name][metric]) if peers else None


def _digest(name: str, problem: Path, budget: Budget) -> str:
    """Of everything that the result depends on."""
    here = Path(__file__).parent
    contestant = CONTESTANTS[name]
    module = sys.modules[contestant.answer.__module__].__file__ or ""
    files = [problem, problem.with_name("ids.npz"), Path(module), *(here / one for one in HARNESS)]
    if contestant.environment != "main":
        files += [here / "contestants" / "fold_in.py", here / "requirements.lock"]
    if name == "funnel":
        files += [here / "funnel_tables.py", *_files(CHECKOUT / folder for folder in PRODUCT)]
    digest = hashlib.sha256(repr(budget).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(folders: Iterable[Path]) -> list[Path]:
    return sorted(file for folder in folders for kind in ("*.py", "*.yaml") for file in folder.rglob(kind))


def _read(out: Path, record: Mapping[str, Any]) -> Entry:
    with np.load(out.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = dict(stored)

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

    return Entry(record, part("ranks."), part("extra."))

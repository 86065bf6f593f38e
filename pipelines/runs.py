"""Starts runs: compiles a project's DAG into the run's folder and executes that file."""

import contextlib
import fcntl
import secrets
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from components.ingest.datasets import default_cache, fetch_dataset
from components.parent import find_parent
from feature_repo.errors import RecloopError
from pipelines.compiling import compile_pipeline
from pipelines.config import ProjectConfig
from pipelines.home import Home
from pipelines.local_run import RunRecord, execute

Show = Callable[[str, str, float], None]


def data_root(config: ProjectConfig, override: str | None, report: Callable[[str], None]) -> str:
    """Where the raw data lies: the override, the config's root, or the fetched data set's cache folder."""
    if override:
        return override
    if config.ingest.root:
        return config.ingest.root
    return str(fetch_dataset(str(config.ingest.dataset), default_cache(), report))


def run_training(
    config: ProjectConfig, home: Home, root: str, show: Show, warm_start: str = ""
) -> tuple[Path, RunRecord]:
    """Trains, evaluates and, where the verdict allows, releases.

    Args:
        config: the project.
        home: where to.
        root: folder or URI of the raw data.
        show: is given what happens.
        warm_start: version of the release to start from, or `stable`; from nothing when empty.

    Returns:
        The run's folder and record.
    """
    # Which release is stable is decided here, once, and before any step has run.
    parent = find_parent(home.releases, warm_start)
    return _run(
        "training",
        config,
        home,
        {
            "data_root": root if "://" in root else str(Path(root).resolve()),
            "feature_store": str(home.feature_store.resolve()),
            "release_store": str(home.releases.resolve()),
            "warm_start": "" if parent is None else str(parent),
        },
        show,
    )


def run_monitoring(config: ProjectConfig, home: Home, show: Show) -> tuple[Path, RunRecord]:
    """Compares what was served with what the live release was trained on."""
    return _run(
        "monitoring",
        config,
        home,
        {"release_store": str(home.releases.resolve()), "telemetry": str(home.telemetry.resolve())},
        show,
    )


def code_revision() -> str:
    """The version of recloop, and the commit where it runs from a checkout."""
    recloop = version("recloop")
    checkout = Path(__file__).resolve().parent.parent
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if (checkout / ".git").exists():
            command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
            commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            return f"{recloop}+g{commit}"
    return recloop


def _run(
    pipeline: str, config: ProjectConfig, home: Home, parameters: dict[str, str], show: Show
) -> tuple[Path, RunRecord]:
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder = home.runs / run_id
    revision = code_revision()
    arguments = dict(parameters)
    if pipeline == "training":
        arguments |= {"run_id": run_id, "code_revision": revision}
    with _only_run(home):
        package = folder / "pipeline.yaml"
        compile_pipeline(pipeline, config, package, arguments)
        record = {
            "run_id": run_id,
            "pipeline": pipeline,
            "config_digest": config.digest(),
            "code_revision": revision,
        }
        return folder, execute(package, folder, {}, record, show)


@contextlib.contextmanager
def _only_run(home: Home) -> Iterator[None]:
    """Two runs of one home would write the same feature store."""
    home.root.mkdir(parents=True, exist_ok=True)
    with open(home.root / "run.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecloopError(
                f"another run is going on in {home.root}. Wait for it, or give this one a home of its own with --home."
            ) from error
        yield

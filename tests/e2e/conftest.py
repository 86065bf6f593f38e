from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.config import ProjectConfig, load_config
from pipelines.home import Home
from pipelines.local_run import RunRecord
from pipelines.runs import run_training
from tests.tiny_project import write_tiny_project


@dataclass(frozen=True)
class TrainedProject:
    config: ProjectConfig
    config_path: Path
    home: Home
    folder: Path
    record: RunRecord
    shown: list[tuple[str, str]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> TrainedProject:
    """The training DAG, run once: compiled, executed step by step, released as version 1."""
    place = tmp_path_factory.mktemp("trained")
    path = write_tiny_project(place)
    config, home = load_config(path), Home(place / "home")
    shown: list[tuple[str, str]] = []
    folder, record = run_training(
        config, home, str(config.ingest.root), lambda event, text, seconds: shown.append((event, text))
    )
    return TrainedProject(config, path, home, folder, record, shown)

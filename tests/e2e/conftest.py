import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import ProjectConfig, load_config
from pipelines.home import Home
from pipelines.local_run import RunRecord
from pipelines.runs import run_training
from serving.launch import running_services
from serving.telemetry.predictions import read_predictions
from tests.tiny_project import write_tiny_project

REQUESTS = 200


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


@pytest.fixture(scope="session")
def predictions(trained) -> list[dict]:
    """What the gateway logged of 200 requests: known users, and every tenth one unknown."""
    random = np.random.default_rng(5)
    with running_services(trained.home.root, trained.config.serving) as services:
        for number in range(REQUESTS):
            user = f"stranger{number}" if number % 10 == 0 else f"u{random.integers(60)}"
            body = {
                "user_id": user,
                "count": 10,
                "context": {"timestamp": 900_000_000 + int(random.integers(10_000_000))},
            }
            request = urllib.request.Request(
                f"{services.gateway_url}/v1/recommendations",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
            assert answer.get("fallback") is None
            assert len(answer["items"]) == 10
    return list(read_predictions(trained.home.telemetry / "predictions"))

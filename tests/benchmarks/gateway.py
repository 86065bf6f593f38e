"""A request through the gateway beside its floor: the same towers, index and ranker called in one process."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np

from feature_repo.columns import context_columns, row_to_arrays
from feature_repo.online import OnlineFeatures
from feature_repo.spec import REQUEST_TIMESTAMP, RETRIEVAL_SCORE
from serving.config import GatewayConfig, ServingConfig
from serving.launch import running_services
from serving.live_release import load_stable_release
from serving.releases import ReleaseStore
from tests.benchmarks.comparison import compare
from trainer.scoring import ExportedModel

HOME = Path(".recloop")
REQUESTS = 50
NOW = 900_000_000


def run() -> None:
    """Asks for ten items from 1,000 candidates, one request after another."""
    if ReleaseStore(HOME / "releases").channels().stable is None:
        print("Gateway: skipped, there is no release in .recloop. `make run` makes one.\n")
        return
    users = [str(user) for user in range(1, REQUESTS + 1)]
    with running_services(HOME, ServingConfig()) as services:
        compare(
            f"{REQUESTS} requests for 10 items of 1,000 candidates",
            ("gateway and model server, over HTTP", lambda: [_ask(services.gateway_url, user) for user in users]),
            ("floor: the same models in one process", _floor(users)),
        )


def _ask(url: str, user: str) -> None:
    body = json.dumps({"user_id": user, "count": 10, "context": {"timestamp": NOW}}).encode()
    request = urllib.request.Request(f"{url}/v1/recommendations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    if answer.get("fallback"):
        raise RuntimeError(f"the gateway fell back: {answer}")


def _floor(users: list[str]) -> Callable[[], None]:
    """Models, index and item table without HTTP, gRPC, telemetry or re-ranking; features are read beforehand."""
    release = load_stable_release(HOME / "releases")
    store, version = ReleaseStore(HOME / "releases"), release.version
    tower, ranker = (ExportedModel(store.model_path(name, version)) for name in ("user_tower", "ranker"))
    online = OnlineFeatures(HOME / "feature_store", release.spec)
    now = np.array([NOW], np.int64)
    context = {name: column[0].as_py() for name, column in context_columns(release.spec.context, now).items()}
    rows = [{**online.user(user), **context, "user_id": user} for user in users]

    def work() -> None:
        for row in rows:
            query = tower({**row_to_arrays(release.spec.request_inputs("retrieval"), row), REQUEST_TIMESTAMP: now})
            found, scores = release.index.search(query["embedding"], GatewayConfig().candidates, exclude=None)
            items = {name: array[found[0]] for name, array in release.items.ranking_inputs.items()}
            request = row_to_arrays(release.spec.request_inputs("ranking"), row)
            ranked = ranker({**request, **items, REQUEST_TIMESTAMP: now, RETRIEVAL_SCORE: scores[0]})["score"]
            np.argsort(-ranked, kind="stable")

    return work

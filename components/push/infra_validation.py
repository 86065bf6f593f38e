"""Starts a model server on a candidate and asks it as the gateway would."""

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from components.push.candidate import Candidate, CandidateError
from components.push.sample_requests import ranker_inputs, sample_users, tower_inputs
from feature_repo.columns import Arrays
from feature_repo.errors import RecloopError
from feature_repo.spec import FeatureSpec
from serving.index import load_index
from serving.item_table import load_item_table
from serving.manifest import MODELS
from serving.model_client import ModelClient
from serving.process import Service

VERSION = 1
LONGEST_START_SECONDS = 180.0
REQUEST_SECONDS = 30.0


def validate_candidate(
    features: FeatureSpec, candidate: Candidate, max_share_by: str | None, candidates: int, now: int
) -> int:
    """Asks a fresh model server for recommendations to a cold and a typical user.

    Args:
        features: the feature spec.
        candidate: the parts to be released.
        max_share_by: item feature of the re-rank policy.
        candidates: how many items retrieval hands to the ranker.
        now: unix seconds of the requests.

    Returns:
        How many requests were answered.

    Raises:
        CandidateError: when a model does not load or answer, or what it answers cannot be served.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="recloop-push-") as folder:
            return _ask_server(Path(folder), features, candidate, max_share_by, candidates, now)
    except RecloopError as error:
        raise CandidateError(str(error)) from error


def _ask_server(
    folder: Path,
    features: FeatureSpec,
    candidate: Candidate,
    max_share_by: str | None,
    candidates: int,
    now: int,
) -> int:
    for model in MODELS:
        (folder / "models" / model).mkdir(parents=True)
        (folder / "models" / model / str(VERSION)).symlink_to(getattr(candidate, model).resolve())
    arguments = ["--models", str(folder / "models"), "--port", "0", "--rest-port", "0"]
    server = Service("model server", "serving.model_server", arguments, folder / "model_server.log")
    try:
        # Loaded and imported while the server starts: it takes as long.
        items = load_item_table(candidate.item_table, features, max_share_by)
        index = load_index(candidate.index)
        if index.size != len(items.ids):
            raise CandidateError(f"the index holds {index.size} items and the item table {len(items.ids)}")
        users = sample_users(features, candidate.training_statistics)
        from components.push.tfx_client import send_requests, wait_until_loaded

        deadline = time.monotonic() + LONGEST_START_SECONDS
        address = server.wait_ready(deadline)["grpc"]
        for model in MODELS:
            wait_until_loaded(address, model, LONGEST_START_SECONDS)
        requests = 0
        for who, row in users.items():
            inputs = tower_inputs(features, row, now)
            send_requests(address, "user_tower", [inputs])
            embedding = _predict(address, "user_tower", inputs, "embedding")
            _check_embedding(embedding, index.dimension, who)
            rows, scores = index.search(embedding, candidates)
            ranked = ranker_inputs(features, row, now, items, rows[0][rows[0] >= 0], scores[0][rows[0] >= 0])
            send_requests(address, "ranker", [ranked])
            for output in ("score", "probability"):
                _check_scores(_predict(address, "ranker", ranked, output), int((rows[0] >= 0).sum()), output, who)
            requests += 5
        return requests
    finally:
        server.stop()


def _predict(address: str, model: str, inputs: Arrays, output: str) -> np.ndarray:
    async def ask() -> np.ndarray:
        client = ModelClient(address)
        try:
            return (await client.predict(model, VERSION, inputs, [output], REQUEST_SECONDS))[output]
        finally:
            await client.close()

    return asyncio.run(ask())


def _check_embedding(embedding: np.ndarray, dimension: int, who: str) -> None:
    if embedding.shape != (1, dimension):
        raise CandidateError(
            f"user_tower gives a {who} user an embedding of shape {list(embedding.shape)}; "
            f"the index needs [1, {dimension}]"
        )
    if not np.isfinite(embedding).all():
        raise CandidateError(f"user_tower gives a {who} user an embedding that is not finite")


def _check_scores(scores: np.ndarray, count: int, output: str, who: str) -> None:
    if scores.shape != (count,):
        raise CandidateError(
            f"ranker gives {count} candidates of a {who} user a {output} of shape {list(scores.shape)}"
        )
    if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise CandidateError(f"ranker gives candidates of a {who} user a {output} that is not within [0, 1]")

"""From a request to its items: features, user tower, index, ranker, re-ranking."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from feature_repo.columns import Arrays, context_columns, row_to_arrays
from feature_repo.spec import ENTITY_KEYS, REQUEST_TIMESTAMP, RETRIEVAL_SCORE
from serving.config import GatewayConfig
from serving.index.base import NO_ROW
from serving.live_release import LiveRelease
from serving.model_client import ModelClient
from serving.rerank import rerank

POPULAR = "popular"
"""Fallback: the items with the most positive outcomes, whoever asks."""

TWO_TOWER = "two_tower"
"""Candidate source: the items nearest to the user's embedding."""

HISTORY = "history"
"""Candidate source where items are consumed repeatedly: what the user engaged with lately."""

_LOOKUPS_AT_ONCE = 4


class UserFeatures(Protocol):
    """The online store as the funnel sees it; `feature_repo.online.OnlineFeatures` is one."""

    def user(self, user_id: str) -> dict[str, Any]:
        """Stored values by feature name; empty or null where nothing is known."""


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        user_id: anyone, known or not.
        count: items wanted.
        timestamp: instant of the request, unix seconds.
        context: context columns that came with the request.
    """

    user_id: str
    count: int
    timestamp: float
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ShownItem:
    """One item of an answer.

    Attributes:
        item_id: of the catalogue.
        title: for people to read.
        position: from 1.
        score: what the items are ordered by.
        probability: of a positive outcome once shown; None in a fallback.
        retrieval_score: None in a fallback.
        source: which candidate source it came from: `two_tower`, `history` or `popular`.
    """

    item_id: str
    title: str | None
    position: int
    score: float
    probability: float | None
    retrieval_score: float | None
    source: str


@dataclass(frozen=True)
class Recommendation:
    """An answer and what it was made from.

    Attributes:
        items: best first.
        features: user and context features by name, as stored.
        removed: items that re-ranking left out, with the reason.
        stage_seconds: time of each stage that ran.
        fallback: how a degraded answer was made; None otherwise.
        fallback_reason: the stage that failed and how.
    """

    items: list[ShownItem]
    features: dict[str, Any]
    removed: list[dict[str, str]]
    stage_seconds: dict[str, float]
    fallback: str | None = None
    fallback_reason: str | None = None


class StageError(Exception):
    """A stage failed; the answer is degraded, never an error."""

    def __init__(self, stage: str, why: object):
        """Takes the stage and what went wrong."""
        super().__init__(f"{stage}: {' '.join(str(why).split()) or type(why).__name__}")
        self.stage = stage


class Funnel:
    """Answers queries from one release."""

    def __init__(self, release: LiveRelease, users: UserFeatures, client: ModelClient, config: GatewayConfig):
        """Takes the release, the online store, the model server and how many candidates within what time."""
        self.release = release
        self._users = users
        self._client = client
        self._config = config
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="online-features")

    async def recommend(self, query: Query) -> Recommendation:
        """The answer; from the models, or a degraded one where a stage fails or the time is up."""
        run = _Run(time.perf_counter() + self._config.timeout_seconds)
        row: dict[str, Any] = {}
        seen: set[int] = set()
        try:
            with run.stage("online_features"):
                row = await asyncio.wait_for(self._stored(query), run.remaining())
                seen = self._seen_rows(row)
            with run.stage("user_tower"):
                embedding = await self._embed(query, row, run)
            with run.stage("index"):
                candidates, retrieval_scores, own = self._search(embedding, row, seen)
            with run.stage("ranker"):
                scores, probabilities = await self._rank(query, row, candidates, retrieval_scores, run)
        except StageError as error:
            return self._popular(query, row, seen, run, str(error))
        with run.stage("rerank"):
            order = np.argsort(-scores, kind="stable")
            ranked = candidates[order]
            kept = rerank(ranked, query.count, self.release.policy, seen, self.release.items.values)
            chosen = order[kept.kept]
            sources = [HISTORY if from_history else TWO_TOWER for from_history in own[chosen]]
            models = probabilities[chosen], retrieval_scores[chosen]
            items = self._shown(candidates[chosen], scores[chosen], models, sources)
            removed = self._removed(ranked, kept.removed)
        return Recommendation(items, self._features(query, row), removed, run.seconds)

    async def is_ready(self, timeout_seconds: float) -> bool:
        """Whether the model server serves this release's models."""
        answers = await asyncio.gather(
            *(
                self._client.is_available(model, self.release.version, timeout_seconds)
                for model in ("user_tower", "ranker")
            )
        )
        return all(answers)

    async def close(self) -> None:
        """Lets go of the model server and the threads."""
        await self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _stored(self, query: Query) -> dict[str, Any]:
        """Everything known of the user and the request, as stored."""
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(self._threads, self._users.user, query.user_id)
        given = {name: pa.array([value]) for name, value in query.context.items()}
        context = context_columns(self.release.spec.context, np.array([query.timestamp], np.int64), given)
        return {
            **stored,
            **{name: column[0].as_py() for name, column in context.items()},
            ENTITY_KEYS["user"]: query.user_id,
        }

    def _seen_rows(self, row: Mapping[str, Any]) -> set[int]:
        if not self.release.excludes_seen:
            return set()
        return set().union(*(self.release.items.rows_of(row.get(f.name) or []) for f in self.release.seen_features))

    async def _embed(self, query: Query, row: Mapping[str, Any], run: "_Run") -> np.ndarray:
        inputs = row_to_arrays(self.release.spec.request_inputs("retrieval"), row)
        inputs[REQUEST_TIMESTAMP] = _instant(query)
        embedding = (await self._predict("user_tower", inputs, ("embedding",), run))["embedding"]
        if embedding.shape != (1, self.release.index.dimension) or not np.isfinite(embedding).all():
            raise ValueError(f"expected a finite embedding [1, {self.release.index.dimension}], got {embedding.shape}")
        return embedding

    def _search(
        self, embedding: np.ndarray, row: Mapping[str, Any], seen: set[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the candidates, their retrieval scores, and which are of the user's own history, [n] each."""
        own = self._own_rows(row, seen)
        rows, scores = self.release.index.search(embedding, self._config.candidates, exclude=[*seen, *own])
        found = rows[0] != NO_ROW
        own_rows = np.array(own, np.int64)
        return (
            np.concatenate([own_rows, rows[0][found]]),
            np.concatenate([self.release.index.score(embedding[0], own_rows), scores[0][found]]),
            np.arange(len(own) + int(found.sum())) < len(own),
        )

    def _own_rows(self, row: Mapping[str, Any], seen: set[int]) -> list[int]:
        """Items of the user's histories, the newest of each first; none where items are consumed once."""
        if not self.release.spec.repeats:
            return []
        histories = self.release.spec.user_histories()
        newest = chain.from_iterable(
            zip_longest(*(self.release.items.rows_of(row.get(feature.name) or []) for feature in histories))
        )
        own = dict.fromkeys(one for one in newest if one is not None and one not in seen)
        return list(own)[: self._config.history_candidates]

    async def _rank(
        self, query: Query, row: Mapping[str, Any], candidates: np.ndarray, retrieval_scores: np.ndarray, run: "_Run"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score and probability of each candidate, [n] each."""
        if not len(candidates):
            return np.empty(0, np.float32), np.empty(0, np.float32)
        inputs = row_to_arrays(self.release.spec.request_inputs("ranking"), row)
        inputs[REQUEST_TIMESTAMP] = _instant(query)
        inputs.update({name: array[candidates] for name, array in self.release.items.ranking_inputs.items()})
        inputs[RETRIEVAL_SCORE] = retrieval_scores
        found = await self._predict("ranker", inputs, ("score", "probability"), run)
        for name, values in found.items():
            if values.shape != candidates.shape or not np.isfinite(values).all():
                raise ValueError(f"expected {len(candidates)} finite values of {name}, got {values.shape}")
        return found["score"], found["probability"]

    async def _predict(
        self, model: str, inputs: Arrays, outputs: tuple[str, ...], run: "_Run"
    ) -> dict[str, np.ndarray]:
        return await self._client.predict(model, self.release.version, inputs, outputs, run.remaining())

    def _popular(self, query: Query, row: dict[str, Any], seen: set[int], run: "_Run", why: str) -> Recommendation:
        items = self.release.items
        kept = rerank(items.popular, query.count, self.release.policy, seen, items.values)
        rows = items.popular[kept.kept]
        return Recommendation(
            items=self._shown(rows, items.popularity[rows], None, [POPULAR] * len(rows)),
            features=self._features(query, row),
            removed=self._removed(items.popular, kept.removed),
            stage_seconds=run.seconds,
            fallback=POPULAR,
            fallback_reason=why,
        )

    def _shown(
        self,
        rows: np.ndarray,
        scores: np.ndarray,
        models: tuple[np.ndarray, np.ndarray] | None,
        sources: list[str],
    ) -> list[ShownItem]:
        """Shown items; `models` holds probabilities and retrieval scores, None where no model was asked."""
        items = self.release.items
        return [
            ShownItem(
                item_id=items.ids[row],
                title=items.titles[row] if items.titles else None,
                position=place + 1,
                score=float(scores[place]),
                probability=None if models is None else float(models[0][place]),
                retrieval_score=None if models is None else float(models[1][place]),
                source=sources[place],
            )
            for place, row in enumerate(rows.tolist())
        ]

    def _removed(self, ranked: np.ndarray, removed: tuple[tuple[int, str], ...]) -> list[dict[str, str]]:
        return [{"item_id": self.release.items.ids[ranked[place]], "reason": reason} for place, reason in removed]

    def _features(self, query: Query, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a record keeps: every user and context feature that a model takes, null where missing."""
        spec = self.release.spec
        taken = {feature.name for stage in ("retrieval", "ranking") for feature in spec.request_inputs(stage)}
        features = [feature for feature in (*spec.user, *spec.context) if feature.name in taken]
        return {feature.name: row.get(feature.name) for feature in features}


class _Run:
    """The clock of one request: what each stage took, and what is left."""

    def __init__(self, deadline: float):
        self._deadline = deadline
        self.seconds: dict[str, float] = {}

    def remaining(self) -> float:
        """Seconds left, never less than a moment: the stage that gets it fails by itself."""
        return max(self._deadline - time.perf_counter(), 0.001)

    def stage(self, name: str) -> "_Stage":
        return _Stage(self, name)


class _Stage:
    """Times a stage; whatever goes wrong in it is a `StageError`."""

    def __init__(self, run: _Run, name: str):
        self._run = run
        self._name = name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._run.seconds[self._name] = time.perf_counter() - self._started
        if isinstance(error, Exception):
            raise StageError(self._name, error) from error


def _instant(query: Query) -> np.ndarray:
    return np.array([int(query.timestamp)], np.int64)

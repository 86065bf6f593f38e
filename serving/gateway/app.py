"""The gateway's HTTP API."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from feature_repo.spec import REQUEST_TIMESTAMP
from serving.config import GatewayConfig
from serving.funnel import Funnel, Query, Recommendation
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.schemas import (
    Health,
    Readiness,
    RecommendationResponse,
    RecommendedItem,
    recommendation_request,
)
from serving.telemetry import PredictionRecord, TelemetryWriter

RECOMMENDATIONS = "/v1/recommendations"
LARGEST_BODY_BYTES = 1024 * 1024

_DESCRIPTION = "Recommendations from the release that is live. Every answer has a `request_id`."
_READINESS_SECONDS = 2.0
_WARM_UP_USER = "-"


def create_app(funnel: Funnel, telemetry: TelemetryWriter, config: GatewayConfig, model_server: str) -> FastAPI:
    """The application for one release.

    Args:
        funnel: that answers; closed with the application.
        telemetry: takes a record of every answer; closed with the application.
        config: bounds requests.
        model_server: address, to be shown.
    """
    version = funnel.release.version
    metrics = GatewayMetrics(version, telemetry)
    request_type = recommendation_request(funnel.release.spec, config)
    warm = False

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await funnel.close()
        telemetry.close()

    app = FastAPI(title="recloop gateway", version=str(version), description=_DESCRIPTION, lifespan=lifespan)
    app.add_middleware(_Limits, metrics=metrics)
    app.add_exception_handler(RequestValidationError, _refuse)

    @app.post(
        RECOMMENDATIONS,
        response_model_exclude_none=True,
        summary="Recommend items to a user",
        description="A user that nobody knows is served too. The answer may be shorter than `count` where the "
        "catalogue or the re-rank policy allows no more.",
    )
    async def recommend(body: request_type) -> RecommendationResponse:  # type: ignore[valid-type]
        received_at = time.time()
        request_id = uuid.uuid4().hex
        asked = body.model_dump(exclude_none=True)  # type: ignore[attr-defined]
        context = asked["context"]
        query = Query(asked["user_id"], asked["count"], context.pop(REQUEST_TIMESTAMP), context)
        found = await funnel.recommend(query)
        for stage, seconds in found.stage_seconds.items():
            metrics.stages.labels(stage).observe(seconds)
        if found.fallback_reason:
            metrics.fallbacks.labels(found.fallback_reason.split(":")[0]).inc()
        telemetry.record(_record(request_id, version, received_at, query, found))
        return RecommendationResponse(
            request_id=request_id,
            release=version,
            items=[
                RecommendedItem(
                    item_id=item.item_id,
                    title=item.title,
                    score=item.score,
                    probability=item.probability,
                    position=item.position,
                )
                for item in found.items
            ],
            fallback=found.fallback,
        )

    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> Health:
        return Health()

    @app.get(
        "/readyz",
        summary="Whether requests are answered from the models",
        responses={503: {"model": Readiness, "description": "The model server does not serve the release."}},
    )
    async def readyz(response: Response) -> Readiness:
        nonlocal warm
        ready = await funnel.is_ready(_READINESS_SECONDS)
        if ready and not warm:
            # The first request pays for connections and caches; let it be this one.
            warm = (await funnel.recommend(Query(_WARM_UP_USER, 1, time.time()))).fallback is None
            ready = warm
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, release=version, model_server=model_server)

    @app.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _record(request_id: str, version: int, received_at: float, query: Query, found: Recommendation) -> PredictionRecord:
    return PredictionRecord(
        request_id=request_id,
        release=version,
        timestamp=query.timestamp,
        received_at=received_at,
        user_id=query.user_id,
        features=found.features,
        items=[
            {
                "item_id": item.item_id,
                "position": item.position,
                "score": item.score,
                "probability": item.probability,
                "retrieval_score": item.retrieval_score,
                "source": item.source,
            }
            for item in found.items
        ],
        stage_ms={stage: round(seconds * 1000, 4) for stage, seconds in found.stage_seconds.items()},
        removed=found.removed,
        fallback=found.fallback,
        fallback_reason=found.fallback_reason,
    )


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request and where; never the input itself, which may not even be valid Unicode."""
    findings = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{"loc": list(finding["loc"]), "msg": finding["msg"], "type": finding["type"]} for finding in findings]
    return JSONResponse({"detail": _printable(detail)}, status_code=422)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_printable(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _printable(entry) for key, entry in value.items()}
    return value


class _Limits:
    """Refuses bodies that are too large, and counts and times requests for recommendations."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics):
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != RECOMMENDATIONS:
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["method"] == "POST" and not _has_small_body(scope):
                refusal = JSONResponse(
                    {"detail": f"the body must have a Content-Length of at most {LARGEST_BODY_BYTES} bytes"}, 413
                )
                await refusal(scope, receive, watched)
            else:
                await self._app(scope, receive, watched)
        finally:
            self._metrics.requests.labels(status).inc()
            self._metrics.latency.observe(time.perf_counter() - started)


def _has_small_body(scope: Scope) -> bool:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return length.isdigit() and int(length) <= LARGEST_BODY_BYTES

"""What the gateway takes and gives. The context's fields follow from the feature spec of the release."""

import math
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from feature_repo.spec import REQUEST_TIMESTAMP, ColumnSource, Feature, FeatureSpec
from serving.config import GatewayConfig

LONGEST_USER_ID = 256
LONGEST_TEXT = 10_000
LATEST_INSTANT = 253_402_300_799
"""The last second of the year 9999."""


class StrictBody(BaseModel):
    """A JSON object that may hold nothing but what is declared."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class RecommendedItem(BaseModel):
    """One item of an answer."""

    item_id: str
    title: str | None = Field(default=None, description="For people to read, where the project names a title column.")
    score: float = Field(
        description="What the items are ordered by, in [0, 1]; in a fallback the item's share of the top popularity."
    )
    probability: float | None = Field(
        default=None, description="Of a positive outcome once the item is shown; absent in a fallback."
    )
    position: int = Field(description="Place in the answer, from 1.")


class RecommendationResponse(BaseModel):
    """An answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "request_id": "5f0c8d1e8a8f4f0d9c55f9d8a9a2b0de",
                "release": 3,
                "items": [
                    {"item_id": "50", "title": "Star Wars (1977)", "score": 0.83, "probability": 0.71, "position": 1}
                ],
            }
        }
    )

    request_id: str = Field(description="Send it back with whatever the user does with these items.")
    release: int = Field(description="Version of the release that answered.")
    items: list[RecommendedItem] = Field(description="Best first.")
    fallback: str | None = Field(
        default=None,
        description="Present when the models could not be asked in time: `popular` items stand in for the answer.",
    )


class Health(BaseModel):
    """Whether the process lives."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether requests are answered from the models."""

    ready: bool
    release: int
    model_server: str = Field(description="Address of the model server.")


def parse_instant(value: Any) -> float:
    """Unix seconds of a number or an ISO 8601 text; a text without a time zone is UTC.

    Raises:
        ValueError: when it is neither, or lies outside of the years 1970 to 9999.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be unix seconds or ISO 8601 text")
    if isinstance(value, str):
        instant = datetime.fromisoformat(value)
        seconds = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    else:
        seconds = float(value) if abs(value) < 1e15 else math.inf
    if not 0 <= seconds <= LATEST_INSTANT:
        raise ValueError("must lie between the years 1970 and 9999")
    return seconds


def recommendation_request(spec: FeatureSpec, config: GatewayConfig) -> type[StrictBody]:
    """The request's type for one release.

    Args:
        spec: whose context columns a request may carry.
        config: bounds the number of items.

    Returns:
        A model with `user_id`, `count` and `context`.
    """
    instant = Annotated[float, BeforeValidator(parse_instant, json_schema_input_type=float | str)]
    fields: dict[str, Any] = {
        REQUEST_TIMESTAMP: (
            instant,
            Field(
                default_factory=time.time,
                description="Instant of the request: unix seconds or ISO 8601; now when absent.",
            ),
        )
    }
    for feature in spec.context:
        if isinstance(feature.source, ColumnSource):
            fields[feature.source.column] = (
                _value_type(feature) | None,
                Field(default=None, description=f"Context feature `{feature.name}`."),
            )
    context = create_model("RequestContext", __base__=StrictBody, __doc__="What surrounds the request.", **fields)
    user_id = Annotated[str, Field(min_length=1, max_length=LONGEST_USER_ID, description="Known or not.")]
    count = Annotated[
        int, Field(strict=True, ge=1, le=config.max_results, description=f"Items wanted, at most {config.max_results}.")
    ]
    model = create_model(
        "RecommendationRequest",
        __base__=StrictBody,
        __doc__="Who asks, and for how much.",
        user_id=(user_id, ...),
        count=(count, min(10, config.max_results)),
        context=(context, Field(default_factory=context)),
    )
    model.model_config["json_schema_extra"] = {"example": {"user_id": "42", "count": min(5, config.max_results)}}
    model.model_rebuild(force=True)
    return model


def _value_type(feature: Feature) -> Any:
    text = Annotated[str, Field(max_length=LONGEST_TEXT)]
    if feature.kind == "numeric":
        return Annotated[float, Field(ge=feature.minimum, le=feature.maximum)]
    if feature.kind == "timestamp":
        return Annotated[int, Field(ge=0, le=LATEST_INSTANT)]
    if feature.kind == "sequence":
        return Annotated[list[text], Field(max_length=feature.length)]
    if feature.kind == "embedding":
        return Annotated[list[float], Field(min_length=feature.length, max_length=feature.length)]
    return text

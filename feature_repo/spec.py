"""The feature spec: the one source of truth of every feature.

A feature is declared here once, with its kind, its source, its transformation and what a missing value becomes.
The Feast entities and views, the preprocessing inside the SavedModels, the data expectations, the schema, the
gateway's hydration and the monitor's list all follow from it.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from feature_repo.model import StrictModel

Kind = Literal["categorical", "numeric", "timestamp", "sequence", "embedding", "text"]
Side = Literal["user", "item", "context"]
Use = Literal["retrieval", "ranking", "filter"]

ENTITY_KEYS: dict[str, str] = {"user": "user_id", "item": "item_id"}
"""The column that identifies a row of each side."""

REQUEST_TIMESTAMP = "timestamp"
"""Model input that every request carries: the instant of the request, int64 unix seconds."""

RETRIEVAL_SCORE = "retrieval_score"
"""Input of the ranker beside the candidates' features: what retrieval scored each candidate, float32."""

RESERVED = (
    REQUEST_TIMESTAMP,
    RETRIEVAL_SCORE,
    "request_id",
    "label",
    "position",
    "propensity",
    "event_timestamp",
    "created_timestamp",
)
"""Columns and inputs that no feature may take the name of."""


class ColumnSource(StrictModel):
    """A column of the users table, the items table or the request's context."""

    column: str


class ClockSource(StrictModel):
    """A part of the request's timestamp, in UTC."""

    clock: Literal["hour", "weekday"]


class AggregateSource(StrictModel):
    """An aggregate over the past events of the user or item, strictly before the instant of the row.

    Attributes:
        aggregate: `count` events; `rate` of positives among events, smoothed; `share` of the entity's positive
            events by each value of an attribute of the item; `last` ids of the other side, newest first;
            `last_timestamp` of an event, unix seconds.
        of: which events count: `any`, or only `positive` ones.
        window_days: trailing window; all of the past when absent. For `count` and `rate`.
        by: item attribute (a categorical or sequence column of the items table). For `share`, of users only.
        values: the attribute's values, one share each, in this order. For `share`.
        prior_mean: rate that an entity without events is taken to have, in (0, 1). For `rate`.
        prior_weight: how many events the prior is worth. For `rate`.
    """

    aggregate: Literal["count", "rate", "share", "last", "last_timestamp"]
    of: Literal["any", "positive"] = "any"
    window_days: float | None = Field(default=None, gt=0)
    by: str | None = None
    values: tuple[str, ...] = ()
    prior_mean: float = Field(default=0.5, gt=0, lt=1)
    prior_weight: float = Field(default=10.0, ge=0)

    @model_validator(mode="after")
    def _check_arguments(self) -> "AggregateSource":
        if self.aggregate == "share" and not (self.by and self.values):
            raise ValueError("a `share` needs `by` (an item column) and `values` (one share each)")
        if self.aggregate != "share" and (self.by or self.values):
            raise ValueError(f"`by` and `values` belong to `share`. Received: aggregate={self.aggregate}")
        if self.window_days is not None and self.aggregate not in ("count", "rate"):
            raise ValueError(f"`window_days` belongs to `count` and `rate`. Received: aggregate={self.aggregate}")
        return self


Source = ColumnSource | ClockSource | AggregateSource


class Vocabulary(StrictModel):
    """Known values get a row of their own, learned from the training rows; all others share one.

    Attributes:
        max_size: keep the most frequent values only.
        of: name of another feature whose vocabulary (and embedding table) is used, so that a history of ids and
            the id itself mean the same.
    """

    type: Literal["vocabulary"] = "vocabulary"
    max_size: int = Field(default=1_000_000, ge=1)
    of: str | None = None


class Hashing(StrictModel):
    """Values are hashed into a fixed number of buckets; nothing is learned from the data."""

    type: Literal["hash"] = "hash"
    buckets: int = Field(ge=2)


class Tokens(StrictModel):
    """Text is lower-cased, stripped of punctuation, split into words and hashed into buckets."""

    type: Literal["tokens"] = "tokens"
    buckets: int = Field(default=4_000, ge=2)


class Standardise(StrictModel):
    """(x - mean) / standard deviation of the training rows."""

    type: Literal["standardise"] = "standardise"


class Log(StrictModel):
    """log(1 + max(x, 0)), then standardised."""

    type: Literal["log"] = "log"


class Elapsed(StrictModel):
    """log(1 + seconds from the feature to the request), capped, then standardised.

    Attributes:
        cap_days: longer spans, and entities that have no such instant, count as this long.
    """

    type: Literal["elapsed"] = "elapsed"
    cap_days: float = Field(default=30.0, gt=0)


class Identity(StrictModel):
    """The value as it is."""

    type: Literal["identity"] = "identity"


Transform = Annotated[
    Vocabulary | Hashing | Tokens | Standardise | Log | Elapsed | Identity, Field(discriminator="type")
]

_TRANSFORMS_OF: dict[str, tuple[str, ...]] = {
    "categorical": ("vocabulary", "hash"),
    "numeric": ("standardise", "log", "identity"),
    "timestamp": ("elapsed",),
    "sequence": ("vocabulary", "hash"),
    "embedding": ("identity",),
    "text": ("tokens",),
}
_KIND_OF_AGGREGATE = {
    "count": "numeric",
    "rate": "numeric",
    "share": "embedding",
    "last": "sequence",
    "last_timestamp": "timestamp",
}


class Feature(StrictModel):
    """One feature.

    Attributes:
        name: unique in the whole spec; the column of feature tables and the input of the models.
        kind: `categorical` (string), `numeric` (float32), `timestamp` (int64 unix seconds), `sequence` (strings,
            newest or most important first), `embedding` (float32 vector), `text` (string).
        source: where the value comes from.
        transform: what the model does with it first.
        missing: what an absent value becomes: a number for `numeric`; a string for `categorical` and `text`.
            An absent timestamp is 0 ("never"), an absent sequence is empty, an absent embedding is zeros.
        length: most entries of a `sequence`, or the dimension of an `embedding`.
        minimum, maximum: range of a `numeric` outside of which data is refused.
        used_by: the stages that take it. A feature only of `filter` is no model input.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    kind: Kind
    source: Source
    transform: Transform | None = None
    missing: float | str | None = None
    length: int | None = Field(default=None, ge=1)
    minimum: float | None = None
    maximum: float | None = None
    used_by: tuple[Use, ...] = ("retrieval", "ranking")

    @model_validator(mode="before")
    @classmethod
    def _default_transform(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("transform") is None and data.get("kind") in _TRANSFORMS_OF:
            default = _TRANSFORMS_OF[data["kind"]][0]
            return {**data, "transform": {"type": default}}
        return data

    @model_validator(mode="after")
    def _check_kind(self) -> "Feature":
        allowed = _TRANSFORMS_OF[self.kind]
        if self.transform is None or self.transform.type not in allowed:
            received = getattr(self.transform, "type", None)
            raise ValueError(f"transform of a {self.kind} must be one of {', '.join(allowed)}. Received: {received}")
        if isinstance(self.source, AggregateSource) and self.kind != _KIND_OF_AGGREGATE[self.source.aggregate]:
            expected = _KIND_OF_AGGREGATE[self.source.aggregate]
            raise ValueError(f"kind of a `{self.source.aggregate}` must be {expected}. Received: {self.kind}")
        if (self.kind in ("sequence", "embedding")) != (self.length is not None):
            raise ValueError(f"`length` belongs to sequence and embedding, which need it. Received: {self.length}")
        values = self.source.values if isinstance(self.source, AggregateSource) else ()
        if values and self.length != len(values):
            raise ValueError(f"`length` must be {len(values)}, the number of values. Received: {self.length}")
        if self.missing is not None:
            wanted: type = float if self.kind == "numeric" else str
            if self.kind not in ("numeric", "categorical", "text") or not isinstance(self.missing, wanted):
                raise ValueError(f"`missing` does not fit a {self.kind} feature. Received: {self.missing!r}")
        if (self.minimum is not None or self.maximum is not None) and self.kind != "numeric":
            raise ValueError(f"`minimum` and `maximum` belong to numeric features. Received kind: {self.kind}")
        return self

    @property
    def missing_value(self) -> float | str:
        """What an absent scalar becomes, by kind."""
        if self.missing is not None:
            return self.missing
        return {"numeric": 0.0, "timestamp": 0}.get(self.kind, "")


class FeatureSpec(StrictModel):
    """All features of a project, by side.

    Attributes:
        user, item, context: the features.
        consumption: whether people take an item `once` (films) or `repeatedly` (groceries, music). Once: what a user
            had is no candidate and no query of an evaluation. Repeatedly: it stays in the corpus, what the user had
            is a candidate source of its own, and evaluation reports repeated and new items apart.
    """

    consumption: Literal["once", "repeatedly"] = "once"
    user: tuple[Feature, ...]
    item: tuple[Feature, ...]
    context: tuple[Feature, ...] = ()

    @model_validator(mode="after")
    def _check_features(self) -> "FeatureSpec":
        names = [feature.name for feature in self.all]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"feature names must be unique in the whole spec. Received twice: {name}")
            if name in RESERVED:
                raise ValueError(f"`{name}` is a reserved name: name the feature otherwise")
        for side in ("user", "item", "context"):
            for feature in self.of(side):
                self._check_source(side, feature)
                self._check_vocabulary(feature)
        return self

    def _check_source(self, side: str, feature: Feature) -> None:
        source = feature.source
        if side == "context" and isinstance(source, AggregateSource):
            raise ValueError(f"context feature {feature.name} must come from a column or the clock")
        if side != "context" and isinstance(source, ClockSource):
            raise ValueError(f"{side} feature {feature.name} cannot come from the clock: declare it under context")
        if side != "user" and isinstance(source, AggregateSource) and source.aggregate == "share":
            raise ValueError(f"item feature {feature.name}: `share` is an aggregate of users")
        key = ENTITY_KEYS.get(side)
        is_key = isinstance(source, ColumnSource) and source.column == key
        if is_key != (feature.name == key):
            raise ValueError(f"the feature of column {key} must be named {key}. Received: {feature.name}")

    def _check_vocabulary(self, feature: Feature) -> None:
        if isinstance(feature.transform, Vocabulary) and feature.transform.of:
            owner = self.get(feature.transform.of)
            if owner is None or not isinstance(owner.transform, Vocabulary) or owner.transform.of:
                raise ValueError(
                    f"feature {feature.name} takes the vocabulary of {feature.transform.of!r}, "
                    "which is no feature with a vocabulary of its own"
                )

    @cached_property
    def all(self) -> tuple[Feature, ...]:
        """Every feature: user, item, context."""
        return (*self.user, *self.item, *self.context)

    def of(self, side: str) -> tuple[Feature, ...]:
        """The features of one side: `user`, `item` or `context`."""
        return {"user": self.user, "item": self.item, "context": self.context}[side]

    def get(self, name: str) -> Feature | None:
        """The feature of that name, or None."""
        return next((feature for feature in self.all if feature.name == name), None)

    def stored(self, side: str) -> tuple[Feature, ...]:
        """Features of `user` or `item` that feature tables and the online store hold: all but the key, filters too."""
        return tuple(f for f in self.of(side) if f.name != ENTITY_KEYS[side])

    def inputs(self, side: str, stage: Use) -> tuple[Feature, ...]:
        """Features of one side that a stage takes, in the order of the spec."""
        return tuple(feature for feature in self.of(side) if stage in feature.used_by)

    def request_inputs(self, stage: Use) -> tuple[Feature, ...]:
        """User and context features that a stage takes: what is computed once a request."""
        return (*self.inputs("user", stage), *self.inputs("context", stage))

    @property
    def repeats(self) -> bool:
        """Whether items are consumed again and again."""
        return self.consumption == "repeatedly"

    def user_histories(self) -> tuple[Feature, ...]:
        """Features that list items the user engaged with, the newest first; those that only filter too."""
        return tuple(f for f in self.user if isinstance(f.source, AggregateSource) and f.source.aggregate == "last")

    def digest(self) -> str:
        """SHA-256 of the spec's canonical JSON, hexadecimal."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def history(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """Those of the features that any model takes; the rest only filter and need no history of values."""
    return tuple(f for f in features if set(f.used_by) & {"retrieval", "ranking"})

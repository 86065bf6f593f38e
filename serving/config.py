"""Section `serving` of a project config."""

from typing import Literal

from pydantic import Field

from feature_repo.model import StrictModel


class IndexConfig(StrictModel):
    """How candidates are found.

    Attributes:
        kind: `scann`, or `brute_force`.
        tree_above: smallest catalogue for which ScaNN builds a partitioning tree; below it scores every item.
    """

    kind: Literal["scann", "brute_force"] = "scann"
    tree_above: int = Field(default=20_000, ge=1)


class RerankConfig(StrictModel):
    """The re-rank policy, part of every release.

    Attributes:
        exclude_seen: leave out what the user has engaged with; when absent, where items are consumed once
            (`features.consumption`).
        max_share_by: item feature (categorical or sequence) whose most common value may take at most `max_share`
            of the answer; no limit when absent.
        max_share: in (0, 1].
    """

    exclude_seen: bool | None = None
    max_share_by: str | None = None
    max_share: float = Field(default=1.0, gt=0, le=1)


class GatewayConfig(StrictModel):
    """The gateway.

    Attributes:
        candidates: how many items retrieval hands to the ranker.
        history_candidates: how many of the user's own items, the newest first, are candidates beside them, where
            items are consumed repeatedly.
        max_results: most items that one request may ask for.
        timeout_seconds: budget of one request.
        titles: item column that answers carry for people to read; none when absent.
    """

    candidates: int = Field(default=1000, ge=1, le=100_000)
    history_candidates: int = Field(default=200, ge=0, le=10_000)
    max_results: int = Field(default=100, ge=1, le=1000)
    timeout_seconds: float = Field(default=1.0, gt=0)
    titles: str | None = None


class ServingConfig(StrictModel):
    """All that decides about serving."""

    index: IndexConfig = IndexConfig()
    rerank: RerankConfig = RerankConfig()
    gateway: GatewayConfig = GatewayConfig()

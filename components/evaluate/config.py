"""What decides whether a model may be released."""

from typing import Literal

from pydantic import Field

from feature_repo.model import StrictModel


class BaselineRule(StrictModel):
    """The funnel's metric must reach that of a baseline on the same queries."""

    metric: str = "ndcg_at_10"
    baseline: Literal["popularity", "recent_popularity"]
    margin: float = 0.0


class FloorRule(StrictModel):
    """A metric must reach a value."""

    metric: str
    at_least: float


class RegressionRule(StrictModel):
    """A metric must not fall by more than this share below the live release's on the same rows."""

    metric: str = "ndcg_at_10"
    largest_drop: float = Field(default=0.05, ge=0, le=1)


class EvaluateConfig(StrictModel):
    """Section `evaluate` of a project config.

    Attributes:
        recent_days: trailing window of the recent-popularity baseline.
        item_refresh_seconds: how often items are re-embedded within the test window, as production would.
        bootstrap_samples: of users, for the intervals.
        segments: user features by whose values metrics are also given.
        baselines, floors, regressions: the rules; a release is blessed when all hold.
    """

    recent_days: float = Field(default=7.0, gt=0)
    item_refresh_seconds: float = Field(default=3600.0, gt=0)
    bootstrap_samples: int = Field(default=500, ge=10)
    segments: tuple[str, ...] = ()
    baselines: tuple[BaselineRule, ...] = ()
    floors: tuple[FloorRule, ...] = ()
    regressions: tuple[RegressionRule, ...] = ()

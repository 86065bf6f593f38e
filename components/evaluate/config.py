"""What decides whether a model may be released."""

from typing import Literal

from pydantic import Field

from feature_repo.model import StrictModel
from trainer.off_policy_config import OffPolicyConfig


class BaselineRule(StrictModel):
    """The funnel's metric must exceed that of a baseline on the same queries.

    Attributes:
        metric: such as `ndcg_at_10`.
        baseline: which one.
        margin: by how much at least.
    """

    metric: str = "ndcg_at_10"
    baseline: Literal["popularity", "recent_popularity"]
    margin: float = Field(default=0.0, ge=0)


class FloorRule(StrictModel):
    """A metric, such as `funnel.recall_at_10` or `ranking.auc`, must reach a value."""

    metric: str
    at_least: float


class RegressionRule(StrictModel):
    """The funnel's metric must not fall by more than a share below the live release's on the same queries."""

    metric: str = "ndcg_at_10"
    largest_drop: float = Field(default=0.05, ge=0, le=1)


class EvaluateConfig(StrictModel):
    """Section `evaluate` of a project config.

    Attributes:
        recent_days: trailing window of the recent-popularity baseline.
        item_refresh_seconds: how often items' features and vectors are brought up to date within the test window, as
            production would.
        bootstrap_samples: of users, for the intervals.
        segments: categorical user features by whose values metrics are also given.
        baselines, floors, regressions: the rules; a release is blessed when all hold.
        off_policy: how the candidate is judged by logged impressions with propensities.
    """

    recent_days: float = Field(default=7.0, gt=0)
    item_refresh_seconds: int = Field(default=3600, ge=1)
    bootstrap_samples: int = Field(default=500, ge=10)
    segments: tuple[str, ...] = ()
    baselines: tuple[BaselineRule, ...] = ()
    floors: tuple[FloorRule, ...] = ()
    regressions: tuple[RegressionRule, ...] = ()
    off_policy: OffPolicyConfig = OffPolicyConfig()

"""What decides whether a model may be released."""

from typing import Literal

from pydantic import Field, model_validator

from feature_repo.model import StrictModel
from trainer.off_policy_config import OffPolicyConfig

SLICES: dict[str, tuple[str, ...]] = {
    "history": (
        "users with 0 past positives",
        "users with 1 to 5 past positives",
        "users with 6 to 20 past positives",
        "users with more than 20 past positives",
    ),
    "cold_users": ("users without past events",),
    "item_popularity": ("head items", "middle items", "tail items"),
    "item_age": (
        "items without past events",
        "items up to 7 days old",
        "items 7 to 30 days old",
        "items 30 to 90 days old",
        "items more than 90 days old",
    ),
    "cold_items": ("items that first appear in the test window",),
    "repetition": ("items the user had before", "items new to the user"),
}
"""Families of slices that every project has, and their slices. `repetition` where items are consumed repeatedly alone;
every segment is one more family, with slices such as `gender = F`."""


class BaselineRule(StrictModel):
    """The funnel's metric must exceed that of a baseline on the same queries.

    Attributes:
        metric: such as `ndcg_at_10`.
        baseline: which one. `champion` is the live release: where there is none the rule is not judged, and a candidate
            whose models are the live release's own fails it.
        margin: by how much at least.
    """

    metric: str = "ndcg_at_10"
    baseline: Literal["popularity", "recent_popularity", "champion"]
    margin: float = Field(default=0.0, ge=0)


class FloorRule(StrictModel):
    """A metric, such as `funnel.recall_at_10` or `ranking.user_auc`, must reach a value."""

    metric: str
    at_least: float


class RegressionRule(StrictModel):
    """The candidate's metric must not be worse than the live release's by more than a share, on the same rows.

    Attributes:
        metric: one of the funnel, such as `ndcg_at_10`, or of the ranker, such as `ranking.user_auc`. Where less is
            better (`ranking.log_loss`, `ranking.ece`) it is the rise that is limited.
        largest_drop: as a share of the live release's value.
        slices: where to judge it: names of slices or of families (`history`, `item_popularity`, a segment), or `all`;
            over the whole window when empty.
        judge_by: `mean` takes the paired difference as measured; `interval` takes the bad end of its 95% interval, so
            that a larger drop has to be ruled out.
        smallest_slice: a slice with fewer queries (impressions, for a metric of the ranker) is not judged.
        smallest_users: nor one with fewer users.
    """

    metric: str = "ndcg_at_10"
    largest_drop: float = Field(default=0.05, ge=0, le=1)
    slices: tuple[str, ...] | Literal["all"] = ()
    judge_by: Literal["mean", "interval"] = "mean"
    smallest_slice: int = Field(default=100, ge=1)
    smallest_users: int = Field(default=20, ge=2)

    @model_validator(mode="after")
    def _check_metric(self) -> "RegressionRule":
        if self.slices and self.metric.startswith("ranking.") and self.metric != "ranking.user_auc":
            raise ValueError(f"slices are judged by a rank metric or ranking.user_auc. Received: {self.metric}")
        return self


class ExposureRule(StrictModel):
    """Groups of items must be shown about as much as they are wanted.

    A group's share of the exposure in the first ten places (a place counts 1 / log2(1 + position)) is divided by its
    share of the items that were asked for.

    Attributes:
        groups: a categorical or sequence feature of items (an item with several values counts for each in equal
            parts), or `item_popularity`: head, middle and tail.
        lowest, highest: the range that the ratio must be in.
        smallest_group: a group that was asked for less often is not judged.

    References:
        Singh and Joachims, "Fairness of Exposure in Rankings", KDD 2018.
    """

    groups: str
    lowest: float = Field(default=0.5, ge=0, le=1)
    highest: float = Field(default=2.0, ge=1)
    smallest_group: int = Field(default=100, ge=1)


class EqualOpportunityRule(StrictModel):
    """Groups of users must find what they want about equally often.

    Attributes:
        groups: a categorical feature of users.
        metric: a recall of the funnel.
        largest_difference: between the groups that are served best and worst.
        smallest_group: a group with fewer queries is left out; with fewer than two groups the rule is not judged.

    References:
        Hardt et al., "Equality of Opportunity in Supervised Learning", NeurIPS 2016.
    """

    groups: str
    metric: str = Field(default="recall_at_100", pattern=r"^recall_at_[1-9]\d*$")
    largest_difference: float = Field(default=0.1, ge=0, le=1)
    smallest_group: int = Field(default=100, ge=1)


class EvaluateConfig(StrictModel):
    """Section `evaluate` of a project config.

    Attributes:
        recent_days: trailing window of the recent-popularity baseline.
        item_refresh_seconds: how often items' features and vectors are brought up to date within the test window, as
            production would.
        bootstrap_samples: of users, for the intervals.
        segments: categorical user features by whose values metrics are also given.
        diversity_by: item feature by which the items of an answer are told apart: the values of a categorical or
            sequence one (Jaccard distance) or the vectors of an embedding (cosine). Not the models' own vectors: a
            candidate would be measured by its own yardstick.
        baselines, floors, regressions, exposures, equal_opportunities: the rules; a release is blessed when none fails.
        off_policy: how the candidate is judged by logged impressions with propensities.
    """

    recent_days: float = Field(default=7.0, gt=0)
    item_refresh_seconds: int = Field(default=3600, ge=1)
    bootstrap_samples: int = Field(default=500, ge=10)
    segments: tuple[str, ...] = ()
    diversity_by: str | None = None
    baselines: tuple[BaselineRule, ...] = ()
    floors: tuple[FloorRule, ...] = ()
    regressions: tuple[RegressionRule, ...] = ()
    exposures: tuple[ExposureRule, ...] = ()
    equal_opportunities: tuple[EqualOpportunityRule, ...] = ()
    off_policy: OffPolicyConfig = OffPolicyConfig()

    @model_validator(mode="after")
    def _check_slices(self) -> "EvaluateConfig":
        families = {*SLICES, *self.segments}
        names = {name for of_family in SLICES.values() for name in of_family}
        for rule in self.regressions:
            for wanted in rule.slices if rule.slices != "all" else ():
                if wanted not in families | names and wanted.partition(" = ")[0] not in self.segments:
                    raise ValueError(
                        f"regressions: no slice is named {wanted!r}. Families are {', '.join(sorted(families))}; a "
                        "user feature is one once it is among `segments`"
                    )
        return self

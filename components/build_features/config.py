"""How training rows are made."""

from pydantic import Field, model_validator

from feature_repo.model import StrictModel


class SplitConfig(StrictModel):
    """Shares of the time-ordered impressions; rows of one instant never part."""

    train: float = Field(default=0.8, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_sum(self) -> "SplitConfig":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must sum to 1. Received: {total:g}")
        return self


class LeakageConfig(StrictModel):
    """Section `leakage` of a project config: when a feature is taken to know the label, and training is refused.

    Attributes:
        check: whether to look at all.
        largest_auc: most that a single feature may tell about the label, in (0.5, 1]: probability that a positive row
            is ordered before a negative one by it. Few features that are known in advance come near 0.95.
        largest_own_share: most of the rows with a user and an item that had not met before that may have the item in
            the user's history, or the user in the item's. Above 0 is right where there is a past that the rows do not
            show.
        allowed: features that may tell more, because it is known that they are known in advance.
        sample_rows: most rows that are looked at, as many positive as negative where there are enough; always the
            same ones.
    """

    check: bool = True
    largest_auc: float = Field(default=0.95, gt=0.5, le=1)
    largest_own_share: float = Field(default=0.5, gt=0, le=1)
    allowed: tuple[str, ...] = ()
    sample_rows: int = Field(default=20_000, ge=1000)

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

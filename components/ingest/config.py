"""Where a project's raw data lies and how its columns map to the canonical tables."""

from typing import Literal

from pydantic import Field, model_validator

from feature_repo.model import StrictModel


class ColumnMapping(StrictModel):
    """A canonical column taken from a raw one.

    Attributes:
        column: the raw column.
        type: what its values are; a value that is not is rejected. The columns of the canonical tables have their
            own type, whatever is said here.
        split: separator of a raw string that holds a list or a vector.
        unit: of a raw timestamp given as a number; ISO 8601 text needs none.
        missing: raw text that means that there is no value.
    """

    column: str
    type: Literal["string", "number", "integer", "list", "vector", "timestamp"] = "string"
    split: str = " "
    unit: Literal["s", "ms", "us"] | None = None
    missing: tuple[str, ...] = ("",)


class TableSource(StrictModel):
    """One raw table.

    Attributes:
        uri: file, glob or folder: local or any fsspec URI; relative to the project's data root.
        format: of the files.
        delimiter: of CSV fields.
        columns: canonical column to its raw one.
        constants: canonical columns that are the same in every row, such as the event type.
    """

    uri: str
    format: Literal["csv", "parquet"] = "parquet"
    delimiter: str = ","
    columns: dict[str, ColumnMapping]
    constants: dict[str, str] = {}


class PositiveRule(StrictModel):
    """Which events are what the recommender is for. All given conditions must hold.

    Attributes:
        event_types: types that count; any when absent.
        value_at_least: smallest value that counts; any when absent.
    """

    event_types: tuple[str, ...] | None = None
    value_at_least: float | None = None


class IngestConfig(StrictModel):
    """Section `ingest` of a project config.

    Attributes:
        dataset: a data set that `recloop data fetch` knows; its cache folder is then the data root.
        root: folder or URI that holds the data, where there is no `dataset`.
        events, users, items: the raw tables.
        impressions: raw table of what was shown; every event counts as one impression when absent.
        positive: which events are positive.
        max_reject_share: most rows of a table that may be rejected before the step fails, in [0, 1].
        allow_future_seconds: how far after the moment of ingestion a timestamp may lie.
    """

    dataset: str | None = None
    root: str | None = None
    events: TableSource
    users: TableSource
    items: TableSource
    impressions: TableSource | None = None
    positive: PositiveRule
    max_reject_share: float = Field(default=0.01, ge=0, le=1)
    allow_future_seconds: float = Field(default=300.0, ge=0)

    @model_validator(mode="after")
    def _check_root(self) -> "IngestConfig":
        if (self.dataset is None) == (self.root is None):
            raise ValueError("exactly one of `dataset` and `root` says where the data lies")
        return self

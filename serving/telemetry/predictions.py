"""The prediction record, and reading records back."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.errors import DataError

SCHEMA_VERSION = 1
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class PredictionRecord:
    """One answer: what it was made from, and what it was.

    Attributes:
        request_id: unique; outcomes are joined by it.
        release: version that answered.
        timestamp: instant of the request that features and models saw, unix seconds.
        received_at: when the gateway got it, unix seconds.
        user_id: as it came.
        features: user and context features by name, as stored: null where missing.
        items: what was shown: `item_id`, `position` from 1, `score`, `probability` and
            `retrieval_score` (null in a fallback), `source` of the candidate.
        stage_ms: milliseconds that each stage took, by stage.
        removed: items that re-ranking left out on the way: `item_id`, `reason`.
        fallback: how a degraded answer was made; null otherwise.
        fallback_reason: which stage failed.
        schema_version: of this record.
    """

    request_id: str
    release: int
    timestamp: float
    received_at: float
    user_id: str
    features: dict[str, Any]
    items: list[dict[str, Any]]
    stage_ms: dict[str, float]
    removed: list[dict[str, str]] = field(default_factory=list)
    fallback: str | None = None
    fallback_reason: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_line(self) -> bytes:
        """One line of JSON. A float32 is written so that it reads back as the same float32."""
        text = json.dumps(asdict(self), allow_nan=False, separators=(",", ":"), default=_plain)
        return text.encode() + b"\n"


def read_predictions(folder: Path) -> Iterator[dict[str, Any]]:
    """Every record below a folder, in the order of the segments; `features`, `items`, ... as `PredictionRecord` has.

    A last line that a crash cut short, or that is being written, is left out.

    Raises:
        DataError: when a whole line is no record.
    """
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    version = record["schema_version"]
                except (ValueError, TypeError, KeyError) as error:
                    raise DataError(f"{path}: line {number} is no prediction record. Remove the line.") from error
                if version != SCHEMA_VERSION:
                    raise DataError(
                        f"{path}: line {number} has schema_version {version!r}, expected {SCHEMA_VERSION}. "
                        "Read it with the version of recloop that wrote it."
                    )
                yield record


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be recorded")

"""What may become a release."""

from dataclasses import dataclass
from pathlib import Path


class CandidateError(Exception):
    """A candidate that cannot be served. The message says what it did, on one line."""


@dataclass(frozen=True)
class Candidate:
    """What is to be released."""

    user_tower: Path
    item_tower: Path
    ranker: Path
    index: Path
    item_table: Path
    training_statistics: Path

"""Which release is live: a pointer that moves by compare-and-swap, and the record of every move."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from feature_repo.errors import ReleaseError
from feature_repo.model import StrictModel
from serving.json_files import read_json, write_json

_REMEDY = "Restore it from a backup."


class Channels(StrictModel):
    """`channels.json`.

    Attributes:
        stable: version that is live; none before the first release.
        canary: version that a share of the requests sees.
        canary_percent: that share, in [0, 100].
        previous: version that was stable before.
        revision: counts the moves; what a compare-and-swap compares.
    """

    stable: int | None = None
    canary: int | None = None
    canary_percent: float = Field(default=0.0, ge=0, le=100)
    previous: int | None = None
    revision: int = Field(default=0, ge=0)


class Move(StrictModel):
    """One line of `audit.jsonl`: when, who, why and on what evidence a channel came to point elsewhere."""

    revision: int
    at: str
    channel: str
    before: int | None
    after: int | None
    who: str
    why: str
    evidence: dict[str, Any]


class ChannelFile:
    """`channels.json` and `audit.jsonl` of one release store."""

    def __init__(self, root: Path):
        """Takes the release store's folder."""
        self._root = root
        self._path = root / "channels.json"
        self._audit = root / "audit.jsonl"

    def read(self) -> Channels:
        """The channels as they stand; empty before the first move."""
        return read_json(self._path, Channels, _REMEDY) if self._path.exists() else Channels()

    def move_stable(
        self, version: int, who: str, why: str, evidence: dict[str, Any], expected_revision: int | None
    ) -> Channels:
        """Points stable at `version`. Moving it to where it is changes and records nothing.

        Raises:
            ReleaseError: when `expected_revision` is given and the channels were moved since.
        """
        with exclusive(self._root, "channels"):
            now = self.read()
            if expected_revision is not None and now.revision != expected_revision:
                raise ReleaseError(
                    f"the channels were moved meanwhile: revision is {now.revision}, expected {expected_revision}, "
                    f"stable is {now.stable}. Look at the releases and decide again."
                )
            if now.stable == version:
                return now
            moved = now.model_copy(update={"stable": version, "previous": now.stable, "revision": now.revision + 1})
            # The record goes first: a crash in between leaves a move that was recorded and not made, which
            # `moves` can tell by its revision. The other order would leave a move that nobody knows of.
            self._record(
                Move(
                    revision=moved.revision,
                    at=datetime.now(UTC).isoformat(timespec="microseconds"),
                    channel="stable",
                    before=now.stable,
                    after=version,
                    who=who,
                    why=why,
                    evidence=evidence,
                )
            )
            write_json(self._path, moved.model_dump(mode="json"))
            return moved

    def moves(self) -> list[Move]:
        """Every move that was made, oldest first."""
        if not self._audit.exists():
            return []
        last = self.read().revision
        made: dict[int, Move] = {}
        for line in self._audit.read_bytes().split(b"\n"):
            # What a crash cut short is no move: it was recorded, not made, and the next one took its revision.
            with suppress(ValidationError):
                move = Move.model_validate_json(line)
                made[move.revision] = move
        missing = [revision for revision in range(1, last + 1) if revision not in made]
        if missing:
            raise ReleaseError(f"{self._audit} is damaged: the move of revision {missing[0]} is missing. {_REMEDY}")
        return [made[revision] for revision in range(1, last + 1)]

    def _record(self, move: Move) -> None:
        try:
            line = json.dumps(move.model_dump(), sort_keys=True, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise ReleaseError(f"the evidence of a move must be plain JSON without NaN: {error}.") from error
        with open(self._audit, "a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def exclusive(root: Path, what: str) -> Iterator[None]:
    """Holds the store's lock of that name against all other processes and threads; a crash lets go of it."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / f".{what}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

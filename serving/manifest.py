"""What a release consists of, and how its parts are told from damaged ones."""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field

from feature_repo.model import StrictModel

MODELS = ("user_tower", "item_tower", "ranker")
"""SavedModels of a release; they lie under `models/<model>/<version>/`, as TF Serving reads them."""

PART_FILES: dict[str, str] = {
    "index": "index",
    "item_table": "items.arrow",
    "feature_spec": "feature_spec.json",
    "schema": "schema.pbtxt",
    "training_statistics": "training_statistics.pb",
    "rerank_policy": "rerank_policy.json",
}
"""The other parts, by what they are called under `<version>/`."""

PARTS = (*MODELS, *PART_FILES)
"""Every part that a release must have."""


class Manifest(StrictModel):
    """`manifest.json`: a version exists when it does.

    Attributes:
        version: of the release, from 1.
        created: ISO 8601, UTC.
        parts: SHA-256 of every part's content, by part.
        lineage: run id, code revision, config digest, data window and whatever else the pusher knows.
        metrics: of the evaluation.
        verdict: of the evaluation, as it came.
    """

    version: int = Field(ge=1)
    created: str
    parts: dict[str, str]
    lineage: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    verdict: dict[str, Any] = {}


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of all files in a folder with their relative names; hexadecimal."""
    if path.is_file():
        return _file_digest(path)
    listing = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        listing.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\n".encode())
    return listing.hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

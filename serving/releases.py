"""The release store: bundles that move together, written whole or not at all."""

import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_repo.errors import ReleaseError
from feature_repo.spec import FeatureSpec
from serving.channels import ChannelFile, Channels, Move, exclusive
from serving.config import RerankConfig
from serving.json_files import read_json, sync_folder, write_json
from serving.manifest import MODELS, PART_FILES, PARTS, Manifest, content_digest

_STAGING = ".staging-"


@dataclass(frozen=True)
class ReleaseParts:
    """What a release is made of: files and folders that a run made, and what the config says.

    Attributes:
        user_tower, item_tower, ranker: folders of SavedModels.
        index: folder of the item index.
        item_table: Arrow IPC file; its row i is index row i.
        schema: TFDV schema of the training rows, text format.
        training_statistics: TFDV statistics of the training rows, binary.
        feature_spec: that the models were trained with.
        rerank_policy: to be applied to the ranker's answer.
    """

    user_tower: Path
    item_tower: Path
    ranker: Path
    index: Path
    item_table: Path
    schema: Path
    training_statistics: Path
    feature_spec: FeatureSpec
    rerank_policy: RerankConfig


class ReleaseStore:
    """Releases and channels in one folder. Reading never waits and never sees half a release.

    Layout:
        `<root>/<version>/` with `manifest.json` written last, `<root>/models/<model>/<version>/`,
        `<root>/channels.json`, `<root>/audit.jsonl`.
    """

    def __init__(self, root: Path):
        """Takes the folder; it need not exist yet."""
        self.root = Path(root)
        self._channels = ChannelFile(self.root)

    def versions(self) -> list[int]:
        """Versions that exist, oldest first."""
        return sorted(
            int(path.parent.name) for path in self.root.glob("[0-9]*/manifest.json") if _is_version(path.parent)
        )

    def manifest(self, version: int) -> Manifest:
        """The manifest of a version.

        Raises:
            ReleaseError: when there is no such version, or its manifest is damaged.
        """
        path = self.root / str(version) / "manifest.json"
        if not path.is_file():
            known = ", ".join(map(str, self.versions())) or "none; `recloop run` makes one"
            raise ReleaseError(f"release {version} does not exist in {self.root}. Releases: {known}.")
        manifest = read_json(path, Manifest, "Serve another release, or restore this one from a backup.")
        if manifest.version != version:
            raise ReleaseError(f"{path} is of release {manifest.version}, not {version}: restore it from a backup.")
        return manifest

    def part_path(self, version: int, name: str) -> Path:
        """Where a part lies, by its name (`index`, `item_table`, `schema`, `user_tower`, ...) or its file's name."""
        if name in MODELS:
            return self.model_path(name, version)
        if name in PART_FILES or name in PART_FILES.values():
            return self.root / str(version) / PART_FILES.get(name, name)
        raise ValueError(f"`name` must be one of {', '.join(PARTS)}. Received: {name}")

    def model_path(self, model: str, version: int) -> Path:
        """Where the SavedModel `user_tower`, `item_tower` or `ranker` of a version lies."""
        if model not in MODELS:
            raise ValueError(f"`model` must be one of {', '.join(MODELS)}. Received: {model}")
        return self.root / "models" / model / str(version)

    def verify(self, version: int) -> Manifest:
        """Holds every part against the manifest's digests.

        Raises:
            ReleaseError: naming the first part that is missing or damaged.
        """
        manifest = self.manifest(version)
        remedy = "Serve another release, or restore this one from a backup."
        for name in PARTS:
            path = self.part_path(version, name)
            expected = manifest.parts.get(name)
            if expected is None:
                raise ReleaseError(f"release {version}: the manifest has no digest of part {name}. {remedy}")
            if not path.exists():
                raise ReleaseError(f"release {version}: part {name} is missing ({path}). {remedy}")
            found = content_digest(path)
            if found != expected:
                raise ReleaseError(
                    f"release {version}: part {name} is damaged "
                    f"({path}: SHA-256 {found[:12]}, expected {expected[:12]}). {remedy}"
                )
        return manifest

    def write(
        self, parts: ReleaseParts, lineage: dict[str, Any], metrics: dict[str, Any], verdict: dict[str, Any]
    ) -> int:
        """Stores a new version; no channel points to it yet.

        Returns:
            The version: one more than the highest there is.

        Raises:
            ReleaseError: when a part is missing or cannot be stored; nothing is a release then.
        """
        for name in (*MODELS, "index", "item_table", "schema", "training_statistics"):
            source = Path(getattr(parts, name))
            if not source.exists():
                raise ReleaseError(
                    f"the release cannot be written: part {name} is not at {source}. Run its step again."
                )
        with exclusive(self.root, "write"):
            version = self._next_version()
            self._remove_leftovers()
            staging = self.root / f"{_STAGING}{uuid.uuid4().hex}"
            try:
                self._stage(staging, parts)
                digests = {name: content_digest(staging / PART_FILES.get(name, name)) for name in PARTS}
                for model in MODELS:
                    target = self.model_path(model, version)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(staging / model, target)
                    sync_folder(target.parent)
                os.rename(staging, self.root / str(version))
                sync_folder(self.root)
                # Last: from here on the version exists, so everything it names must be in place.
                manifest = Manifest(
                    version=version,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    parts=digests,
                    lineage=lineage,
                    metrics=metrics,
                    verdict=verdict,
                )
                write_json(self.root / str(version) / "manifest.json", manifest.model_dump())
            except BaseException:
                self._remove_leftovers()
                raise
        return version

    def channels(self) -> Channels:
        """Which versions are stable, canary and previous."""
        return self._channels.read()

    def move_stable(
        self, version: int, who: str, why: str, evidence: dict[str, Any], expected_revision: int | None = None
    ) -> Channels:
        """Makes a version stable, once all its parts are found sound.

        Args:
            version: that is to be live.
            who: a person or a run.
            why: in words.
            evidence: what the decision rests on, such as metrics.
            expected_revision: of the channels that the decision was made on; any when absent.

        Raises:
            ReleaseError: when the version does not exist or is damaged, or the channels were moved since.
        """
        self.verify(version)
        return self._channels.move_stable(version, who, why, evidence, expected_revision)

    def audit(self) -> list[Move]:
        """Every move of a channel, oldest first."""
        return self._channels.moves()

    def _stage(self, staging: Path, parts: ReleaseParts) -> None:
        staging.mkdir()
        for name in (*MODELS, "index", "item_table", "schema", "training_statistics"):
            _copy(Path(getattr(parts, name)), staging / PART_FILES.get(name, name))
        write_json(staging / PART_FILES["feature_spec"], parts.feature_spec.model_dump(mode="json"))
        write_json(staging / PART_FILES["rerank_policy"], parts.rerank_policy.model_dump(mode="json"))

    def _next_version(self) -> int:
        folders = [self.root, *(self.root / "models" / model for model in MODELS)]
        # Leftovers count: a model server may have loaded a SavedModel under that number.
        taken = [
            int(path.name) for folder in folders if folder.is_dir() for path in folder.iterdir() if _is_version(path)
        ]
        return max(taken, default=0) + 1

    def _remove_leftovers(self) -> None:
        """Removes what crashed writes left: staging folders, and numbers without a manifest. Needs the write lock."""
        complete = set(self.versions())
        for path in self._entries():
            if path.name.startswith(_STAGING) or (_is_version(path) and int(path.name) not in complete):
                shutil.rmtree(path)

    def _entries(self) -> list[Path]:
        """Everything that lies where versions do."""
        folders = [self.root, *(self.root / "models" / model for model in MODELS)]
        return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal() and str(int(path.name)) == path.name and path.is_dir()


def _copy(source: Path, target: Path) -> None:
    """Copies a file or folder and puts its bytes on disk."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    for path in [target, *target.rglob("*")]:
        sync_folder(path)

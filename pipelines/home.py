"""Where a project writes on one machine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folders of one project. Nothing is created by naming them."""

    root: Path

    @property
    def runs(self) -> Path:
        """One folder a run: its compiled pipeline, log, record and artifacts."""
        return self.root / "runs"

    @property
    def feature_store(self) -> Path:
        """The Feast repository: its config, registry and online store."""
        return self.root / "feature_store"

    @property
    def releases(self) -> Path:
        """The release store."""
        return self.root / "releases"

    @property
    def telemetry(self) -> Path:
        """What the gateway recorded."""
        return self.root / "telemetry"

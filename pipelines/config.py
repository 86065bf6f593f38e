"""The project config: one YAML file, loaded once, strict."""

import hashlib
import json
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from components.build_features.config import LeakageConfig, SplitConfig
from components.evaluate.config import EvaluateConfig
from components.ingest.config import IngestConfig
from components.monitor.config import MonitorConfig
from feature_repo.errors import ConfigError
from feature_repo.model import StrictModel
from feature_repo.spec import FeatureSpec
from serving.config import ServingConfig
from trainer.config import RankingConfig, RetrievalConfig


class ProjectConfig(StrictModel):
    """Everything that makes a project this project. Each package owns the section it reads.

    Attributes:
        name: of the project: pipelines, the Feast project and metrics carry it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    ingest: IngestConfig
    features: FeatureSpec
    split: SplitConfig = SplitConfig()
    leakage: LeakageConfig = LeakageConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    ranking: RankingConfig = RankingConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    serving: ServingConfig = ServingConfig()
    monitor: MonitorConfig = MonitorConfig()

    def to_json(self) -> str:
        """Canonical JSON: what the DAG's steps are given."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def shipped_configs() -> dict[str, str]:
    """Paths of the configs that come with recloop, by name."""
    folder = Path(__file__).parent / "configs"
    return {path.stem: str(path) for path in sorted(folder.glob("*.yaml"))}


def load_config(path: str | Path) -> ProjectConfig:
    """Reads a project config.

    Raises:
        ConfigError: naming the file, the key, the value received and what was expected.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a project config with --config.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        summary = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML: {summary}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping of sections. Received: {type(raw).__name__}.")
    return _validate(raw, str(path))


def _validate(raw: dict, origin: str) -> ProjectConfig:
    try:
        return ProjectConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_describe(error)}") from error


def _describe(error: ValidationError) -> str:
    """The first finding on one line: key, what is wrong, value; and how many more there are."""
    # A misspelt key is also a missing one: the spelling is what helps.
    findings = sorted(error.errors(include_url=False), key=lambda finding: finding["type"] != "extra_forbidden")
    first = findings[0]
    key = ".".join(str(part) for part in first["loc"]) or "the config"
    received = repr(first["input"])
    received = received if len(received) <= 80 else received[:77] + "..."
    more = f" ({len(findings) - 1} more findings.)" if len(findings) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`. Remove it or mend its spelling. Received: {received}.{more}"
    if first["type"] == "missing":
        return f"key `{key}` is missing. Add it.{more}"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"`{key}`: {message[0].lower() + message[1:]}. Received: {received}.{more}"

"""Releases a blessed candidate, once a model server has served it; says why not otherwise."""

import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.push.candidate import Candidate, CandidateError
from components.push.infra_validation import validate_candidate
from feature_repo.errors import DataError
from feature_repo.files import write_file
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from serving.config import ServingConfig
from serving.item_table import data_window
from serving.releases import ReleaseParts, ReleaseStore


@dataclass(frozen=True)
class PushPaths:
    """What the step reads and writes."""

    verdict: Path
    candidate: Candidate
    training_schema: Path
    release_store: Path
    release: Path


def push(features: FeatureSpec, config: ServingConfig, lineage: dict[str, Any], paths: PushPaths) -> dict[str, Any]:
    """Writes the outcome to `paths.release` and returns it. Not released is an outcome, not an error.

    Args:
        features: the feature spec that the candidate was trained with.
        config: section `serving`.
        lineage: run id, code revision, config digest and the release that training started from.
        paths: of inputs and outputs.

    Returns:
        `pushed`; with `version`, `previous` and `manifest` when it was, and `why` when it was not.
    """
    verdict = _read_verdict(paths.verdict)
    outcome = _refusal(verdict) or _release(features, config, lineage, paths, verdict)
    write_file((json.dumps(outcome, indent=2) + "\n").encode(), paths.release)
    report_progress(f"release {outcome['version']} is stable" if outcome["pushed"] else f"no release: {outcome['why']}")
    return outcome


def config_digest(config: str) -> str:
    """SHA-256 of a project config's canonical JSON, hexadecimal."""
    canonical = json.dumps(json.loads(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read_verdict(path: Path) -> dict[str, Any]:
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the verdict {path} cannot be read ({error}). Run the step evaluate again.") from error
    if not isinstance(verdict, dict) or not isinstance(verdict.get("blessed"), bool):
        raise DataError(f"the verdict {path} does not say whether the candidate is blessed. Run evaluate again.")
    return _without_nan(verdict)


def _refusal(verdict: dict[str, Any]) -> dict[str, Any] | None:
    if verdict["blessed"]:
        return None
    failed = [str(rule.get("rule")) for rule in verdict.get("rules", []) if not rule.get("passed")]
    return {"pushed": False, "why": "the evaluation did not bless it" + (f": {'; '.join(failed)}" if failed else "")}


def _release(
    features: FeatureSpec, config: ServingConfig, lineage: dict[str, Any], paths: PushPaths, verdict: dict[str, Any]
) -> dict[str, Any]:
    candidate = paths.candidate
    try:
        requests = validate_candidate(
            features, candidate, config.rerank.max_share_by, config.gateway.candidates, int(time.time())
        )
    except CandidateError as error:
        return {"pushed": False, "why": f"a model server cannot serve it: {error}"}
    report_progress(f"a model server answered {requests} requests")

    store = ReleaseStore(paths.release_store)
    before = store.channels()
    parts = ReleaseParts(
        user_tower=candidate.user_tower,
        item_tower=candidate.item_tower,
        ranker=candidate.ranker,
        index=candidate.index,
        item_table=candidate.item_table,
        schema=paths.training_schema,
        training_statistics=candidate.training_statistics,
        feature_spec=features,
        rerank_policy=config.rerank,
    )
    metrics = verdict.get("metrics", {})
    version = store.write(parts, {**lineage, "data_window": data_window(candidate.item_table)}, metrics, verdict)
    store.move_stable(
        version,
        who=f"run {lineage['run_id']}",
        why="blessed by the evaluation and served by a fresh model server",
        evidence={"rules": verdict.get("rules", []), "infra_validation_requests": requests},
        expected_revision=before.revision,
    )
    return {
        "pushed": True,
        "version": version,
        "previous": before.stable,
        "manifest": str(store.root / str(version) / "manifest.json"),
    }


def _without_nan(value: Any) -> Any:
    """A metric that could not be computed is null in a manifest: NaN is no JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return [_without_nan(entry) for entry in value] if isinstance(value, list) else value

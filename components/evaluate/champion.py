"""The live release, which a candidate has to hold its own against."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.evaluate.funnel import FunnelModels, FunnelOutcome
from feature_repo.spec import FeatureSpec
from serving.manifest import MODELS, content_digest
from serving.releases import ReleaseStore

State = Literal["none", "same", "incomparable", "compared"]


@dataclass(frozen=True)
class Champion:
    """The live release as seen by the evaluation of a candidate.

    Attributes:
        state: `none` is live; the `same` models as the candidate's; `incomparable`; or `compared`.
        release: its version.
        note: the state in words.
        models: to score the window with; where the state is `compared` alone.
    """

    state: State
    release: int | None
    note: str
    models: FunnelModels | None = None

    def told(self) -> dict[str, Any]:
        """What the verdict says of it."""
        return {"state": self.state, "release": self.release, "note": self.note}


def find_champion(release_store: Path, features: FeatureSpec, candidate: dict[str, Path]) -> Champion:
    """The live release, where it can be compared.

    Training is deterministic, so a run on unchanged data and config makes the live models once more, byte by byte.
    Scored beside themselves they would pass every rule of regression by a difference of zero, which shows nothing.

    Args:
        release_store: folder of the release store.
        features: of the candidate.
        candidate: folder of each of its models.

    Raises:
        ReleaseError: when the live release is damaged.
    """
    store = ReleaseStore(release_store)
    stable = store.channels().stable
    if stable is None:
        return Champion("none", None, "no release is live")
    digests = store.verify(stable).parts
    if all(content_digest(candidate[name]) == digests[name] for name in MODELS):
        return Champion(
            "same", stable, f"the candidate's models are those of release {stable}, byte by byte: nothing to compare"
        )
    text = store.part_path(stable, "feature_spec").read_text(encoding="utf-8")
    spec = FeatureSpec.model_validate_json(text)
    absent = sorted({feature.name for feature in spec.all} - {feature.name for feature in features.all})
    if absent:
        why = f"release {stable} takes features that this project no longer has: {', '.join(absent)}"
        return Champion("incomparable", stable, why)
    models = FunnelModels(spec, *(store.model_path(name, stable) for name in ("user_tower", "item_tower", "ranker")))
    return Champion("compared", stable, f"release {stable}, scored on the same rows", models)


def settle_champion(champion: Champion, candidate: FunnelOutcome, outcome: FunnelOutcome) -> Champion:
    """The champion, found to be the candidate where both say the same of every row though their files differ."""
    same = all(
        (getattr(candidate, name) == getattr(outcome, name)).all()
        for name in ("ranks", "retrieval_ranks", "top_items", "probabilities")
    )
    if not same:
        return champion
    note = f"the candidate ranks and scores every row as release {champion.release} does: nothing to compare"
    return Champion("same", champion.release, note)

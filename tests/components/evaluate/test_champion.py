from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.champion import Champion, find_champion, settle_champion
from components.evaluate.funnel import FunnelOutcome
from feature_repo.errors import ReleaseError
from feature_repo.spec import FeatureSpec
from serving.config import RerankConfig
from serving.manifest import MODELS
from serving.releases import ReleaseParts, ReleaseStore
from tests.trainer.tiny_tables import SPEC


@pytest.fixture
def candidate(tmp_path) -> dict[str, Path]:
    """Files in the place of models: they are told apart by their bytes, which need not be a model's."""
    folders = {name: tmp_path / "candidate" / name for name in MODELS}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(name)
    return folders


def release(store: Path, folders: dict[str, Path], spec: FeatureSpec = SPEC) -> None:
    """Makes the candidate the live release."""
    rest = store.parent / "rest"
    rest.write_text("the same for all")
    parts = ReleaseParts(
        **folders,
        index=rest,
        item_table=rest,
        schema=rest,
        training_statistics=rest,
        feature_spec=spec,
        rerank_policy=RerankConfig(),
    )
    version = ReleaseStore(store).write(parts, {}, {}, {})
    ReleaseStore(store).move_stable(version, "test", "test", {})


@pytest.fixture
def loaded(monkeypatch):
    """Loading is left out: the files are no models."""
    monkeypatch.setattr("components.evaluate.champion.FunnelModels", lambda *arguments: arguments)


def test_without_a_live_release_there_is_no_champion(tmp_path, candidate):
    assert find_champion(tmp_path / "releases", SPEC, candidate).told() == {
        "state": "none",
        "release": None,
        "note": "no release is live",
    }


def test_live_models_themselves_are_no_champion(tmp_path, candidate, loaded):
    release(tmp_path / "releases", candidate)
    found = find_champion(tmp_path / "releases", SPEC, candidate)
    assert (found.state, found.release, found.models) == ("same", 1, None)
    assert "release 1, byte by byte" in found.note


@pytest.mark.parametrize("model", MODELS)
def test_one_different_model_makes_another_candidate(tmp_path, candidate, loaded, model):
    release(tmp_path / "releases", candidate)
    (candidate[model] / "saved_model.pb").write_text("trained otherwise")
    found = find_champion(tmp_path / "releases", SPEC, candidate)
    assert (found.state, found.release) == ("compared", 1)
    stored = ReleaseStore(tmp_path / "releases")
    assert found.models == (SPEC, *(stored.model_path(name, 1) for name in ("user_tower", "item_tower", "ranker")))


def test_release_that_takes_features_which_are_gone_cannot_be_compared(tmp_path, candidate, loaded):
    release(tmp_path / "releases", candidate)
    (candidate["ranker"] / "saved_model.pb").write_text("trained otherwise")
    fewer = FeatureSpec(user=SPEC.user, item=SPEC.item)
    found = find_champion(tmp_path / "releases", fewer, candidate)
    assert (found.state, found.models) == ("incomparable", None)
    assert "release 1 takes features that this project no longer has: hour" in found.note


def test_damaged_release_is_an_error_with_a_remedy(tmp_path, candidate, loaded):
    release(tmp_path / "releases", candidate)
    (ReleaseStore(tmp_path / "releases").model_path("ranker", 1) / "saved_model.pb").write_text("damaged")
    with pytest.raises(ReleaseError, match="part ranker is damaged"):
        find_champion(tmp_path / "releases", SPEC, candidate)


def test_models_that_say_the_same_of_every_row_are_the_same():
    outcome = FunnelOutcome(
        retrieval_ranks=np.array([1.0, 2.0]),
        ranks=np.array([1.0, np.inf]),
        top_items=np.array([[3, 1], [2, -1]]),
        probabilities=np.array([0.5, 0.25]),
        labels=np.array([1, 0]),
    )
    champion = Champion("compared", 4, "release 4")
    settled = settle_champion(champion, outcome, replace(outcome))
    assert (settled.state, settled.release, settled.models) == ("same", 4, None)
    for changed in (
        {"ranks": np.array([1.0, 9.0])},
        {"retrieval_ranks": np.array([1.0, 3.0])},
        {"top_items": np.array([[3, 1], [2, 0]])},
        {"probabilities": np.array([0.5, 0.26])},
    ):
        assert settle_champion(champion, outcome, replace(outcome, **changed)) is champion

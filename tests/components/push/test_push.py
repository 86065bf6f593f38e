import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from components.push.candidate import Candidate
from components.push.push import PushPaths, config_digest, push
from components.push.sample_requests import sample_users
from components.validate.statistics import generate_statistics, write_statistics
from feature_repo.errors import DataError
from serving.config import IndexConfig, ServingConfig
from serving.index import build_index
from serving.releases import ReleaseStore
from tests.contract.tiny_release import SPEC, save_catalogue, save_models

LINEAGE = {"run_id": "r7", "code_revision": "abc", "config_digest": "123"}
BLESSED = {"blessed": True, "rules": [{"rule": "ndcg", "passed": True}], "metrics": {"funnel.ndcg_at_10": 0.25}}

WINDOW = {"data_begin": "2024-01-01T00:00:00+00:00", "data_end": "2024-01-02T00:00:00+00:00"}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_models(folder)
    save_models(folder / "wide", dimension=3)
    save_models(folder / "loud", largest_score=1.5)
    save_catalogue(folder, WINDOW)
    train = pa.table(
        {
            "age": pa.array([20, 40, None], pa.float32()),
            "last_likes": [["4"], ["4", "2"], None],
            "hour": ["3", "3", "7"],
            "device": ["phone", "phone", None],
        }
    )
    write_statistics(generate_statistics(train), folder / "statistics")
    (folder / "schema").write_text("")
    return folder


@pytest.fixture
def paths(made, tmp_path):
    def paths(verdict=BLESSED, **parts):
        (tmp_path / "verdict").write_text(json.dumps(verdict))
        defaults = {
            "user_tower": made / "user_tower",
            "item_tower": made / "item_tower",
            "ranker": made / "ranker",
            "index": made / "index",
            "item_table": made / "items.arrow",
            "training_statistics": made / "statistics",
        }
        candidate = Candidate(**{**defaults, **parts})
        return PushPaths(
            tmp_path / "verdict", candidate, made / "schema", tmp_path / "releases", tmp_path / "out" / "release"
        )

    return paths


def test_a_candidate_that_is_not_blessed_moves_nothing(paths):
    rules = [{"rule": "ndcg_at_10 >= popularity", "passed": False}, {"rule": "floor", "passed": True}]
    asked = paths({"blessed": False, "rules": rules})
    outcome = push(SPEC, ServingConfig(), LINEAGE, asked)
    assert outcome == {"pushed": False, "why": "the evaluation did not bless it: ndcg_at_10 >= popularity"}
    assert json.loads(asked.release.read_text()) == outcome
    assert not asked.release_store.exists()


def test_a_blessed_candidate_is_served_released_and_stable(paths):
    asked = paths({**BLESSED, "metrics": {"funnel.ndcg_at_10": 0.25, "ranking.auc": float("nan")}})
    outcome = push(SPEC, ServingConfig(), LINEAGE, asked)
    assert (outcome["pushed"], outcome["version"], outcome["previous"]) == (True, 1, None)
    store = ReleaseStore(asked.release_store)
    manifest = store.verify(1)
    assert manifest.lineage == {**LINEAGE, "data_window": WINDOW}
    assert manifest.metrics == {"funnel.ndcg_at_10": 0.25, "ranking.auc": None}
    assert manifest.verdict["rules"] == BLESSED["rules"]
    assert store.channels().stable == 1
    assert store.audit()[0].who == "run r7"
    # User tower and ranker, for a cold and a typical user, through TFX's client and for the values.
    assert store.audit()[0].evidence["infra_validation_requests"] == 10


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"user_tower": "wide/user_tower"}, "an embedding of shape [1, 3]; the index needs [1, 2]"),
        ({"ranker": "loud/ranker"}, "a score that is not within [0, 1]"),
        ({"ranker": "item_tower"}, "ranker refuses a request: input size does not match signature"),
    ],
)
def test_a_candidate_that_cannot_be_served_moves_nothing(paths, made, parts, why):
    asked = paths(**{name: made / path for name, path in parts.items()})
    outcome = push(SPEC, ServingConfig(), LINEAGE, asked)
    assert not outcome["pushed"]
    assert outcome["why"].startswith("a model server cannot serve it: ")
    assert why in outcome["why"]
    assert "\n" not in outcome["why"]
    assert not asked.release_store.exists()


def test_a_model_that_does_not_load_moves_nothing(paths, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"nonsense")
    outcome = push(SPEC, ServingConfig(), LINEAGE, paths(ranker=tmp_path / "broken"))
    assert outcome["why"] == "a model server cannot serve it: the model server cannot load ranker"


def test_an_index_of_another_size_moves_nothing(paths, tmp_path):
    build_index(np.ones((6, 2), np.float32), IndexConfig(kind="brute_force")).save(tmp_path / "six")
    outcome = push(SPEC, ServingConfig(), LINEAGE, paths(index=tmp_path / "six"))
    assert outcome["why"].endswith("the index holds 6 items and the item table 5")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"blessed": "yes"}'])
def test_a_verdict_that_says_nothing_is_refused(paths, content):
    asked = paths()
    asked.verdict.write_text(content)
    with pytest.raises(DataError, match="verdict"):
        push(SPEC, ServingConfig(), LINEAGE, asked)


def test_the_typical_user_has_the_most_frequent_values_and_the_means(made):
    users = sample_users(SPEC, made / "statistics")
    assert users["cold"] == {}
    assert users["typical"] == {"age": 30.0, "last_likes": ["4", "2"], "hour": "3", "device": "phone"}


def test_the_digest_of_a_config_does_not_depend_on_its_layout():
    # SHA-256 of {"a":1,"b":2}
    expected = "43258cff783fe7036d8a43033f830adfc60ec037382473548ac742b888292777"
    assert config_digest('{ "b": 2, "a": 1 }') == config_digest('{"a":1,"b":2}') == expected


def test_the_component_calls_the_step(paths):
    from components.push.component import push as component

    asked = paths({"blessed": False})
    named = {**vars(asked.candidate), "verdict": asked.verdict, "training_schema": asked.training_schema}
    artifacts = {name: SimpleNamespace(path=str(path)) for name, path in {**named, "release": asked.release}.items()}
    config = {"features": SPEC.model_dump(mode="json"), "serving": ServingConfig().model_dump(mode="json")}
    logged = {}
    component.python_func(
        config=json.dumps(config),
        release_store=str(asked.release_store),
        run_id="r7",
        code_revision="abc",
        warm_start="",
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        **artifacts,
    )
    assert logged == {"pushed": 0, "version": 0}
    assert not json.loads(Path(asked.release).read_text())["pushed"]

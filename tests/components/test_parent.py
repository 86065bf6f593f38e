import pytest

from components.parent import find_parent, parent_model
from feature_repo.errors import ConfigError, ReleaseError
from serving.releases import ReleaseStore
from tests.contract.tiny_release import release, save_catalogue, save_models


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made, home = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("releases")
    save_models(made)
    save_catalogue(made)
    release(ReleaseStore(home), made)
    return home


def test_nothing_means_no_parent(store):
    assert find_parent(store, "") is None
    assert parent_model(store, "", "ranker") is None


@pytest.mark.parametrize("asked", ["1", "stable"])
def test_a_version_or_the_stable_release_is_found(store, asked):
    assert find_parent(store, asked) == 1
    name, folder = parent_model(store, asked, "ranker")
    assert name == "release 1" and (folder / "saved_model.pb").is_file()


def test_what_is_no_release_is_refused(store, tmp_path):
    with pytest.raises(ReleaseError, match="release 7"):
        find_parent(store, "7")
    with pytest.raises(ConfigError, match="Received: 'best'"):
        find_parent(store, "best")
    with pytest.raises(ReleaseError, match="none is in"):
        find_parent(tmp_path, "stable")

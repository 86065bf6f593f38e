import pytest

from tests.contract.tiny_release import save_catalogue, save_models


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The parts of the tiny release."""
    folder = tmp_path_factory.mktemp("made")
    save_models(folder)
    save_catalogue(folder)
    return folder

"""The release that a training starts from."""

from pathlib import Path

from feature_repo.errors import ConfigError, ReleaseError
from serving.releases import ReleaseStore

STABLE = "stable"


def find_parent(release_store: Path, warm_start: str) -> int | None:
    """The version whose weights training starts from; None for none.

    Args:
        release_store: folder of the release store.
        warm_start: a version, `stable`, or nothing.

    Raises:
        ConfigError: if it is none of these.
        ReleaseError: if there is no such release, or it is damaged.
    """
    if not warm_start:
        return None
    store = ReleaseStore(release_store)
    if warm_start == STABLE:
        version = store.channels().stable
        if version is None:
            raise ReleaseError(f"training cannot start from the stable release: none is in {store.root}. Train anew")
    elif warm_start.isdecimal():
        version = int(warm_start)
    else:
        raise ConfigError(f"a warm start needs a version or `{STABLE}`. Received: {warm_start!r}")
    store.verify(version)
    return version


def parent_model(release_store: Path, warm_start: str, model: str) -> tuple[str, Path] | None:
    """Name and folder of a model of the release that training starts from; None for none. Errors as `find_parent`."""
    version = find_parent(release_store, warm_start)
    return None if version is None else (f"release {version}", ReleaseStore(release_store).model_path(model, version))

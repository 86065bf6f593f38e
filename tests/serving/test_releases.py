import json
import multiprocessing
import threading

import pytest

from feature_repo.errors import ReleaseError
from feature_repo.spec import FeatureSpec
from serving.config import RerankConfig
from serving.manifest import PARTS
from serving.releases import ReleaseParts, ReleaseStore

SPEC = FeatureSpec.model_validate(
    {
        "user": [{"name": "age", "kind": "numeric", "source": {"column": "age"}}],
        "item": [{"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}}],
    }
)
EVIDENCE = {"ndcg_at_10": 0.25}


@pytest.fixture
def parts(tmp_path):
    made = tmp_path / "made"
    for model in ("user_tower", "item_tower", "ranker"):
        (made / model / "variables").mkdir(parents=True)
        (made / model / "saved_model.pb").write_bytes(model.encode())
        (made / model / "variables" / "variables.index").write_bytes(b"weights")
    (made / "index").mkdir()
    (made / "index" / "index.json").write_text("{}")
    for name in ("items.arrow", "schema.pbtxt", "training_statistics.pb"):
        (made / name).write_bytes(name.encode())
    return ReleaseParts(
        user_tower=made / "user_tower",
        item_tower=made / "item_tower",
        ranker=made / "ranker",
        index=made / "index",
        item_table=made / "items.arrow",
        schema=made / "schema.pbtxt",
        training_statistics=made / "training_statistics.pb",
        feature_spec=SPEC,
        rerank_policy=RerankConfig(),
    )


@pytest.fixture
def store(tmp_path):
    return ReleaseStore(tmp_path / "releases")


def write(store, parts):
    return store.write(parts, {"run_id": "r1"}, {"ndcg_at_10": 0.25}, {"blessed": True})


def test_an_empty_store_has_no_versions_and_empty_channels(store):
    assert store.versions() == []
    channels = store.channels()
    assert (channels.stable, channels.canary, channels.previous, channels.revision) == (None, None, None, 0)
    assert store.audit() == []


def test_a_written_release_has_all_parts_and_what_it_came_from(store, parts):
    assert (write(store, parts), write(store, parts)) == (1, 2)
    assert store.versions() == [1, 2]
    manifest = store.verify(2)
    assert manifest.lineage == {"run_id": "r1"}
    assert manifest.metrics == {"ndcg_at_10": 0.25}
    assert manifest.verdict == {"blessed": True}
    assert set(manifest.parts) == set(PARTS)
    assert store.model_path("ranker", 2) == store.root / "models" / "ranker" / "2"
    assert (store.model_path("ranker", 2) / "saved_model.pb").read_bytes() == b"ranker"
    assert store.part_path(2, "item_table") == store.part_path(2, "items.arrow") == store.root / "2" / "items.arrow"
    assert FeatureSpec.model_validate_json(store.part_path(2, "feature_spec").read_text()) == SPEC
    assert not list(store.root.glob(".staging-*"))


def test_writing_moves_no_channel(store, parts):
    write(store, parts)
    assert store.channels().stable is None


@pytest.mark.parametrize("name", PARTS)
def test_verify_names_the_part_that_is_damaged(store, parts, name):
    write(store, parts)
    path = store.part_path(1, name)
    file = path if path.is_file() else next(entry for entry in path.rglob("*") if entry.is_file())
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(ReleaseError, match=f"release 1: part {name} is damaged"):
        store.verify(1)


@pytest.mark.parametrize("name", PARTS)
def test_verify_names_the_part_that_is_missing(store, parts, name):
    write(store, parts)
    store.part_path(1, name).rename(store.root / "elsewhere")
    with pytest.raises(ReleaseError, match=f"release 1: part {name} is missing"):
        store.verify(1)


def test_verify_sees_a_renamed_file_within_a_part(store, parts):
    write(store, parts)
    (store.model_path("ranker", 1) / "saved_model.pb").rename(store.model_path("ranker", 1) / "other.pb")
    with pytest.raises(ReleaseError, match="part ranker is damaged"):
        store.verify(1)


def test_a_part_without_digest_is_refused(store, parts):
    write(store, parts)
    path = store.root / "1" / "manifest.json"
    content = json.loads(path.read_text())
    del content["parts"]["index"]
    path.write_text(json.dumps(content))
    with pytest.raises(ReleaseError, match="no digest of part index"):
        store.verify(1)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"version": 1}', '{"version": 1, "created": "x", "parts": {}, "x": 1}']
)
def test_a_damaged_manifest_is_one_line(store, parts, content):
    write(store, parts)
    (store.root / "1" / "manifest.json").write_text(content)
    with pytest.raises(ReleaseError, match="manifest.json is damaged") as error:
        store.manifest(1)
    assert "\n" not in str(error.value)


def test_a_version_that_does_not_exist_is_named_with_those_that_do(store, parts):
    with pytest.raises(ReleaseError, match="release 3 does not exist in .*Releases: none"):
        store.manifest(3)
    write(store, parts)
    with pytest.raises(ReleaseError, match="Releases: 1."):
        store.move_stable(3, "me", "why", {})


def test_a_missing_part_stops_the_write_before_it_begins(store, parts, tmp_path):
    (tmp_path / "made" / "items.arrow").unlink()
    with pytest.raises(ReleaseError, match="part item_table is not at"):
        write(store, parts)
    assert store.versions() == []


def test_what_a_crashed_write_left_is_no_release_and_goes_with_the_next_write(store, parts):
    write(store, parts)
    (store.root / "models" / "ranker" / "2").mkdir()
    (store.root / "2" / "index").mkdir(parents=True)
    (store.root / ".staging-abc").mkdir()
    assert store.versions() == [1]
    # Number 2 may have been loaded by a model server, so it is not given out again.
    assert write(store, parts) == 3
    assert store.versions() == [1, 3]
    assert not (store.root / "2").exists()
    assert not (store.root / "models" / "ranker" / "2").exists()
    assert not (store.root / ".staging-abc").exists()


def test_a_write_that_fails_leaves_nothing(store, parts):
    with pytest.raises(ReleaseError, match="manifest.json cannot be written"):
        store.write(parts, {}, {"ndcg_at_10": float("nan")}, {})
    assert store.versions() == []
    assert [path for path in store.root.rglob("*") if path.is_file() and path.name != ".write.lock"] == []


def test_concurrent_writers_get_versions_of_their_own(store, parts):
    versions = []
    threads = [threading.Thread(target=lambda: versions.append(write(store, parts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4]
    for version in versions:
        store.verify(version)


def test_moving_stable_keeps_the_previous_and_is_audited(store, parts):
    write(store, parts)
    write(store, parts)
    store.move_stable(1, "run r1", "blessed", EVIDENCE)
    moved = store.move_stable(2, "run r2", "blessed", EVIDENCE, expected_revision=1)
    assert (moved.stable, moved.previous, moved.revision) == (2, 1, 2)
    assert store.channels() == moved
    first, second = store.audit()
    assert (first.before, first.after, first.who, first.why, first.evidence) == (None, 1, "run r1", "blessed", EVIDENCE)
    assert (second.before, second.after, second.revision) == (1, 2, 2)


def test_moving_stable_to_where_it_is_records_nothing(store, parts):
    write(store, parts)
    store.move_stable(1, "me", "first", {})
    assert store.move_stable(1, "me", "again", {}).revision == 1
    assert len(store.audit()) == 1


def test_a_move_is_refused_when_the_channels_were_moved_since(store, parts):
    write(store, parts)
    write(store, parts)
    store.move_stable(1, "me", "first", {}, expected_revision=0)
    with pytest.raises(ReleaseError, match="revision is 1, expected 0, stable is 1"):
        store.move_stable(2, "you", "second", {}, expected_revision=0)
    assert store.channels().stable == 1


def test_stable_never_moves_to_a_damaged_release(store, parts):
    write(store, parts)
    store.part_path(1, "item_table").write_bytes(b"")
    with pytest.raises(ReleaseError, match="part item_table is damaged"):
        store.move_stable(1, "me", "why", {})
    assert store.channels().stable is None


def test_evidence_that_is_no_json_moves_nothing(store, parts):
    write(store, parts)
    with pytest.raises(ReleaseError, match="evidence"):
        store.move_stable(1, "me", "why", {"ndcg_at_10": float("nan")})
    assert store.channels().stable is None


def _swap(root, barrier, results):
    barrier.wait()
    try:
        ReleaseStore(root).move_stable(1, "me", "why", {}, expected_revision=0)
        results.put(True)
    except ReleaseError:
        results.put(False)


def test_of_processes_that_swap_at_once_one_wins(store, parts):
    write(store, parts)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    swaps = [context.Process(target=_swap, args=(store.root, barrier, results)) for _ in range(4)]
    for swap in swaps:
        swap.start()
    outcomes = sorted(results.get(timeout=60) for _ in swaps)
    for swap in swaps:
        swap.join()
    assert outcomes == [False, False, False, True]
    assert len(store.audit()) == 1


def test_a_move_that_a_crash_cut_short_is_no_move(store, parts):
    write(store, parts)
    write(store, parts)
    store.move_stable(1, "me", "first", {})
    whole = store.audit()[0].model_dump(mode="json")
    with open(store.root / "audit.jsonl", "a") as file:
        file.write(json.dumps({**whole, "revision": 2, "why": "never made"}) + "\n" + '{"revision": 2, "at')
    assert [move.why for move in store.audit()] == ["first"]
    store.move_stable(2, "me", "second", {})
    assert [move.why for move in store.audit()] == ["first", "second"]


def test_a_damaged_audit_is_told(store, parts):
    write(store, parts)
    store.move_stable(1, "me", "first", {})
    (store.root / "audit.jsonl").write_text("nonsense\n")
    with pytest.raises(ReleaseError, match="the move of revision 1 is missing"):
        store.audit()


@pytest.mark.parametrize("content", ["", '{"stable": "one"}', '{"stable": 1, "live": 2}', '{"canary_percent": 101}'])
def test_damaged_channels_are_one_line(store, content):
    store.root.mkdir()
    (store.root / "channels.json").write_text(content)
    with pytest.raises(ReleaseError, match="channels.json is damaged") as error:
        store.channels()
    assert "\n" not in str(error.value)

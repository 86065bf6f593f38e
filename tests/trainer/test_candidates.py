import numpy as np
import pyarrow as pa
import pytest

from feature_repo.tables import TIMESTAMP
from tests.trainer.tiny_tables import SPEC
from trainer.candidates import Queries, retrieve, top_k
from trainer.catalogue import Catalogue
from trainer.engagements import Engagements

HOUR = 3_600_000_000


@pytest.fixture
def catalogue():
    """Three items; c becomes popular two hours after the epoch."""
    table = pa.table(
        {
            "item_id": ["c", "a", "b", "c"],
            "event_timestamp": pa.array([0, 0, 0, 2 * HOUR], pa.int64()).cast(TIMESTAMP),
            "tags": [["x"], ["y"], None, ["x"]],
            "title": ["C", "A", None, "C"],
            "events": pa.array([0, 2, 1, 9], pa.float32()),
            "item_last_event_at": pa.array([None, 5, None, 7200], pa.int64()),
        }
    )
    return Catalogue(SPEC.inputs("item", "ranking"), table)


def find(catalogue, instants, targets, seen=(), k=2, refresh_seconds=3600.0):
    """Retrieval by the number of events alone."""
    queries = Queries(
        np.array(["u"] * len(instants), object), np.array(instants), np.array(targets), np.ones((len(instants), 1))
    )
    seen_items, seen_at = np.array([item for item, _ in seen], np.int64), np.array([at for _, at in seen], np.int64)
    engagements = Engagements(np.array(["u"] * len(seen), object), seen_items, seen_at)
    parts = retrieve(queries, catalogue, engagements, lambda items: items["events"][:, None], refresh_seconds, k)
    ranks, candidates = np.zeros(len(instants)), np.zeros((len(instants), k), np.int64)
    for part in parts:
        ranks[part.rows], candidates[part.rows] = part.ranks, part.candidates
    return ranks.tolist(), candidates.tolist()


def test_catalogue_orders_items_and_knows_what_it_lacks(catalogue):
    assert catalogue.item_ids.tolist() == ["a", "b", "c"]
    assert catalogue.codes(np.array(["c", "zz", "a", ""], object)).tolist() == [2, -1, 0, -1]


def test_catalogue_reads_aggregates_as_of_the_instant_and_fills_what_is_missing(catalogue):
    before, after = catalogue.snapshots(np.array([2 * HOUR - 1, 2 * HOUR]))
    assert before["events"].tolist() == [2, 1, 0]
    assert after["events"].tolist() == [2, 1, 9]
    assert after["item_last_event_at"].tolist() == [5, 0, 7200]
    assert before["title"].tolist() == ["A", "", "C"]
    assert before["tags"].tolist() == [["y", ""], ["", ""], ["x", ""]]


def test_retrieval_sees_items_as_of_the_last_refresh(catalogue):
    ranks, candidates = find(catalogue, [2 * HOUR - 1, 2 * HOUR + 1], [2, 2])
    assert ranks == [3, 1]
    assert candidates == [[0, 1], [2, 0]]
    assert find(catalogue, [2 * HOUR + 1], [2], refresh_seconds=4 * 3600)[0] == [3]


def test_retrieval_leaves_out_what_the_user_had_engaged_with_strictly_before(catalogue):
    at = 3 * HOUR
    assert find(catalogue, [at], [0], seen=[(2, at - 1)])[0] == [1]
    assert find(catalogue, [at], [0], seen=[(2, at)])[0] == [2]


def test_retrieval_keeps_what_the_query_wants_again(catalogue):
    assert find(catalogue, [3 * HOUR], [2], seen=[(2, 1), (0, 1)])[0] == [1]


def test_top_k_is_ordered_and_stable():
    assert top_k(np.array([[1.0, 3.0, 2.0, 3.0]]), 3).tolist() == [[1, 3, 2]]
    assert top_k(np.array([[1.0, 2.0]]), 5).tolist() == [[1, 0]]

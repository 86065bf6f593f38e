import json
import shutil

import numpy as np
import pytest

from feature_repo.errors import ReleaseError
from serving.config import IndexConfig
from serving.index import build_index, load_index
from serving.index.base import NO_ROW, Index, IndexDescription

BRUTE = IndexConfig(kind="brute_force")
SCANN = IndexConfig(kind="scann")
VECTORS = np.array([[1, 0], [0, 1], [2, 2], [-1, 3], [0, 0.5]], np.float32)
QUERY = np.array([[1, 1]], np.float32)
# Inner products with [1, 1]: 1, 1, 4, 2, 0.5.


@pytest.mark.parametrize("config", [BRUTE, SCANN])
def test_search_orders_by_inner_product(config):
    rows, scores = build_index(VECTORS, config).search(QUERY, 2)
    assert rows.tolist() == [[2, 3]]
    assert scores.tolist() == [[4.0, 2.0]]
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("config", [BRUTE, SCANN])
def test_score_gives_the_inner_product_of_any_row_also_after_loading(config, tmp_path):
    build_index(VECTORS, config).save(tmp_path)
    index = load_index(tmp_path)
    assert index.score(QUERY[0], np.array([4, 2, 2])).tolist() == [0.5, 4.0, 4.0]
    assert index.score(QUERY[0], np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize("config", [BRUTE, SCANN])
def test_search_gives_the_whole_catalogue_when_k_is_larger(config):
    rows, scores = build_index(VECTORS, config).search(np.array([[1, 2]], np.float32), 50)
    # 1*1+0=1, 2, 2+4=6, -1+6=5, 1: rows 0 and 4 tie.
    assert rows[0, :3].tolist() == [2, 3, 1]
    assert sorted(rows[0].tolist()) == [0, 1, 2, 3, 4]
    assert scores.tolist() == [[6.0, 5.0, 2.0, 1.0, 1.0]]


@pytest.mark.parametrize("config", [BRUTE, SCANN])
def test_search_still_gives_k_when_the_best_are_excluded(config):
    rows, scores = build_index(VECTORS, config).search(np.array([[1, 1.5]], np.float32), 3, exclude=[2, 3, 99, -1])
    # 1, 1.5, 5, 3.5, 0.75: without rows 2 and 3.
    assert rows.tolist() == [[1, 0, 4]]
    assert scores.tolist() == [[1.5, 1.0, 0.75]]


@pytest.mark.parametrize("config", [BRUTE, SCANN])
def test_search_is_empty_when_everything_is_excluded(config):
    rows, scores = build_index(VECTORS, config).search(QUERY, 3, exclude=range(5))
    assert rows.shape == scores.shape == (1, 0)


def test_search_answers_each_query_on_its_own():
    rows, _ = build_index(VECTORS, BRUTE).search(np.array([[1, 0], [0, 1]], np.float32), 1, exclude=[2])
    assert rows.tolist() == [[0], [3]]


def test_search_refuses_queries_of_another_dimension():
    with pytest.raises(ValueError, match=r"should be \[B, 2\]. Received: shape=\(1, 3\)"):
        build_index(VECTORS, BRUTE).search(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match="`k` must be >= 1. Received: k=0"):
        build_index(VECTORS, BRUTE).search(QUERY, 0)


def test_places_that_an_approximate_search_cannot_fill_have_no_row():
    class Forgetful(Index):
        kind = "forgetful"
        load = _write = None

        def _nearest(self, queries, count):
            rows, scores = [3, 1, NO_ROW, NO_ROW], [9.0, 8.0, -np.inf, -np.inf]
            return np.array([rows[:count]]), np.array([scores[:count]], np.float32)

    Forgetful.__abstractmethods__ = frozenset()
    rows, scores = Forgetful(VECTORS[:4]).search(QUERY, 3, exclude=[3])
    assert rows.tolist() == [[1, NO_ROW, NO_ROW]]
    assert scores.tolist() == [[8.0, -np.inf, -np.inf]]


def test_scann_agrees_with_brute_force_below_the_tree():
    vectors = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    queries = np.random.default_rng(2).normal(size=(7, 8)).astype(np.float32)
    exact_rows, exact_scores = build_index(vectors, BRUTE).search(queries, 50, exclude=range(0, 40))
    rows, scores = build_index(vectors, SCANN).search(queries, 50, exclude=range(0, 40))
    assert rows.tolist() == exact_rows.tolist()
    np.testing.assert_allclose(scores, exact_scores, rtol=1e-5)


def test_scann_builds_a_tree_above_the_threshold_and_fills_all_places(tmp_path):
    # Twenty tight groups, as items of a catalogue are: whatever tree ScaNN trains (it does so at random), the best
    # twenty of a query lie in few leaves.
    random = np.random.default_rng(1)
    centres = np.repeat(random.normal(size=(20, 8)), 30, axis=0)
    vectors = (centres + random.normal(scale=0.05, size=(600, 8))).astype(np.float32)
    queries = vectors[::30][:10]
    index = build_index(vectors, IndexConfig(tree_above=600))
    assert index.leaves > 0
    assert build_index(vectors, IndexConfig(tree_above=601)).leaves == 0

    exact, exact_scores = build_index(vectors, BRUTE).search(queries, 20)
    rows, _ = index.search(queries, 20)
    assert np.mean([len(set(a) & set(b)) / 20 for a, b in zip(rows, exact, strict=True)]) > 0.9
    everything, scores = index.search(queries, 600)
    assert sorted(everything[0].tolist()) == list(range(600))
    np.testing.assert_allclose(scores[:, :20], exact_scores, rtol=1e-5)

    index.save(tmp_path / "index")
    again, _ = load_index(tmp_path / "index").search(queries, 20)
    assert again.tolist() == rows.tolist()


@pytest.mark.parametrize("config", [BRUTE, SCANN])
def test_a_saved_index_answers_the_same_from_another_place(tmp_path, config):
    build_index(VECTORS, config).save(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    index = load_index(tmp_path / "there")
    assert (index.size, index.dimension) == (5, 2)
    rows, scores = index.search(QUERY, 2)
    assert (rows.tolist(), scores.tolist()) == ([[2, 3]], [[4.0, 2.0]])
    assert not list((tmp_path / "there").glob("*.pkl"))


def test_a_saved_scann_index_names_no_folder(tmp_path):
    build_index(VECTORS, SCANN).save(tmp_path / "index")
    assert str(tmp_path) not in (tmp_path / "index" / "scann_assets.pbtxt").read_text()


@pytest.mark.parametrize("name", ["index.json", "dataset.npy", "scann_assets.pbtxt"])
def test_an_index_with_a_missing_file_is_refused(tmp_path, name):
    build_index(VECTORS, SCANN).save(tmp_path / "index")
    (tmp_path / "index" / name).unlink()
    with pytest.raises(ReleaseError, match="index"):
        load_index(tmp_path / "index")


def test_an_index_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "index.json").write_text(IndexDescription(kind="annoy", size=1, dimension=1).model_dump_json())
    with pytest.raises(ReleaseError, match="kind must be one of brute_force, scann. Received: annoy"):
        load_index(tmp_path)


def test_an_index_whose_description_has_another_size_is_refused(tmp_path):
    build_index(VECTORS, BRUTE).save(tmp_path)
    description = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**description, "size": 6}))
    with pytest.raises(ReleaseError, match="not of the size"):
        load_index(tmp_path)


def test_vectors_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="row 1 is not"):
        build_index(np.array([[1, 2], [np.nan, 1]], np.float32), SCANN)

"""Contestants of `make bench-quality`: fold-in is what training would have made, and nothing of the future counts."""

import numpy as np
import pytest
from scipy import sparse

from tests.benchmarks.quality.contestants.ease import item_weights
from tests.benchmarks.quality.contestants.fold_in import fold_in
from tests.benchmarks.quality.contestants.funnel import best_epoch, configured
from tests.benchmarks.quality.contestants.item_knn import similarities
from tests.benchmarks.quality.contestants.popularity import counts_at
from tests.benchmarks.quality.contestants.sasrec import history_windows, windows
from tests.benchmarks.quality.problem import Log
from tests.benchmarks.quality.protocols import last_one, split_by_time, split_by_user

DAY = 86_400_000_000


def test_ease_of_two_items_is_worked_out_by_hand() -> None:
    # Three users: both items, both items, the first alone. Gram [[3, 2], [2, 2]], plus 1 on the diagonal:
    # the inverse of [[4, 2], [2, 3]] is [[3, -2], [-2, 4]] / 8; weight from j to i is -P[j, i] / P[i, i].
    matrix = sparse.csr_matrix(np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))

    np.testing.assert_allclose(item_weights(matrix, 1.0), [[0, 2 / 4], [2 / 3, 0]], rtol=1e-6)


def test_item_similarity_is_the_shrunk_cosine() -> None:
    # Items 0 and 1 share two of their three and two users; item 2 is alone.
    matrix = sparse.csr_matrix(np.array([[1.0, 1.0, 0], [1.0, 1.0, 0], [1.0, 0.0, 0], [0, 0, 1.0]]))

    found = similarities(matrix, neighbours=2, shrinkage=1.0, asymmetry=0.5)

    np.testing.assert_allclose(found[0, 1], 2 / (np.sqrt(3 * 2) + 1), rtol=1e-6)
    np.testing.assert_allclose(found[2], [0, 0, 0])
    np.testing.assert_allclose(np.diag(found), 0)


def test_only_the_nearest_neighbours_are_kept() -> None:
    matrix = sparse.csr_matrix(np.array([[1.0, 1, 1], [1, 1, 0], [1, 0, 0]]))

    found = similarities(matrix, neighbours=1, shrinkage=0.0, asymmetry=0.5)

    # To item 0 item 1 (2 of 3 users) is nearer than item 2 (1 of 3).
    assert found[1, 0] > 0
    assert found[2, 0] == 0


def test_fold_in_ranks_what_the_user_had_first() -> None:
    vectors = np.eye(3, dtype=np.float32)
    known = sparse.csr_matrix(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32))

    users = fold_in(known, vectors, np.zeros(3, np.float32), np.zeros((2, 3)), 50, 0.1, 0.01, seed=1)

    assert users[0].argmax() == 1
    # Without a history there is nothing to learn from.
    np.testing.assert_array_equal(users[1], 0)


def test_fold_in_without_steps_keeps_the_trained_vector() -> None:
    known = sparse.csr_matrix(np.array([[1.0, 1.0]], np.float32))
    trained = np.array([[0.3, -0.2]], np.float32)

    users = fold_in(known, np.eye(2, dtype=np.float32), np.zeros(2, np.float32), trained, 0, 0.1, 0.1, seed=1)

    np.testing.assert_array_equal(users, trained)


def test_popularity_is_counted_strictly_before_the_moment_and_within_the_window() -> None:
    log = Log(
        users=np.array([0, 1, 2, 3, 4]),
        items=np.array([0, 0, 1, 1, 0]),
        times=np.array([0, 2, 3, 4, 5]) * DAY,
        positives=np.array([True, True, True, False, True]),
    )
    _, test = split_by_time(log, first_validation=4 * DAY, first_test=5 * DAY)

    np.testing.assert_array_equal(counts_at(test, 2, None), [[2, 1]])
    # Three days back from day 5: the like of day 2 is just inside, that of day 0 is not.
    np.testing.assert_array_equal(counts_at(test, 2, 3), [[1, 1]])
    np.testing.assert_array_equal(counts_at(test, 2, 2.5), [[0, 1]])


SEQUENCE = Log(np.zeros(6, int), np.arange(6), np.arange(6) * 10, np.array([True, False, True, True, True, True]))


def test_training_windows_overlap_by_one_and_are_padded_in_front() -> None:
    items, positives = windows(SEQUENCE, length=3, positives_only=False)

    # Items count from 1. The newest window is whole; the rest of the history ends where it begins.
    assert items.tolist() == [[3, 4, 5, 6], [0, 1, 2, 3]]
    assert positives.tolist() == [[True, True, True, True], [False, True, False, True]]
    assert windows(SEQUENCE, length=3, positives_only=True)[0].tolist() == [[3, 4, 5, 6], [0, 0, 1, 3]]


def test_a_sequence_that_is_asked_holds_nothing_that_is_asked_for() -> None:
    _, test = split_by_user(SEQUENCE, last_one)

    items, positives = history_windows(test, length=4, positives_only=False)

    assert items.tolist() == [[2, 3, 4, 5]]
    assert positives.tolist() == [[False, True, True, True]]
    assert history_windows(test, length=6, positives_only=True)[0].tolist() == [[0, 0, 1, 3, 4, 5]]


def test_the_best_epoch_is_read_from_the_progress_lines() -> None:
    text = "\n".join(
        f"recloop> epoch {epoch}: loss 5.0000, validation recall@100 {value}, 1.8 s"
        for epoch, value in ((1, "0.6000"), (2, "0.7013"), (3, "0.6900"), (4, "0.7013"))
    )

    assert best_epoch(text) == 2
    with pytest.raises(ValueError, match="a line for every epoch"):
        best_epoch("nothing")


def test_overrides_reach_sections_and_features_by_name() -> None:
    config = configured({"retrieval.epochs": 3, "features.user.user_last_likes.length": 7})

    assert config.retrieval.epochs == 3
    assert config.features.get("user_last_likes").length == 7

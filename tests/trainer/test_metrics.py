import numpy as np
import pytest

from trainer.metrics import (
    area_under_roc,
    average_precision_at_k,
    bootstrap_interval,
    calibration_bins,
    expected_calibration_error,
    log_loss,
    mean_user_area_under_roc,
    ndcg_at_k,
    ranks_of_targets,
    recall_at_k,
)

RANKS = np.array([1.0, 2.0, 3.0, 11.0, np.inf])


def test_recall_counts_ranks_up_to_k_inclusive():
    assert recall_at_k(RANKS, 2).tolist() == [1, 1, 0, 0, 0]


def test_ndcg_is_discounted_by_the_binary_logarithm():
    # log2(2) = 1, log2(3) = 1.58496..., log2(4) = 2
    np.testing.assert_allclose(ndcg_at_k(RANKS, 10), [1, 0.6309297535714575, 0.5, 0, 0])


def test_average_precision_is_the_reciprocal_rank():
    np.testing.assert_allclose(average_precision_at_k(RANKS, 10), [1, 1 / 2, 1 / 3, 0, 0])


def test_rank_counts_higher_scores_and_earlier_ties():
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.5, 0.9, 0.5, 0.1], [0.5, 0.9, -np.inf, 0.1]])
    assert ranks_of_targets(scores, np.array([0, 2, 2])).tolist() == [2, 3, np.inf]


def test_auc_counts_ordered_pairs_and_half_of_ties():
    # pairs (positive, negative): (.8,.5) won, (.8,.2) won, (.5,.5) half, (.5,.2) won -> 3.5 / 4
    assert area_under_roc(np.array([1, 1, 0, 0]), np.array([0.8, 0.5, 0.5, 0.2])) == pytest.approx(3.5 / 4)


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(area_under_roc(np.array([1, 1]), np.array([0.1, 0.2])))


def test_log_loss_of_known_probabilities():
    # -(ln 0.8 + ln 0.6) / 2
    expected = -(np.log(0.8) + np.log(0.6)) / 2
    assert log_loss(np.array([1, 0]), np.array([0.8, 0.4])) == pytest.approx(expected)


def test_log_loss_of_a_certain_mistake_is_finite():
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-np.log(1e-7))


def test_calibration_error_weighs_bins_by_their_counts():
    labels = np.array([0, 1, 1, 1])
    predictions = np.array([0.12, 0.18, 0.95, 1.0])
    # bin [.1,.2): predicted .15, observed .5 (2 rows); bin [.9,1]: predicted .975, observed 1 (2 rows)
    assert [(b.low, b.count) for b in calibration_bins(labels, predictions)] == [(0.1, 2), (0.9, 2)]
    assert expected_calibration_error(labels, predictions) == pytest.approx((2 * 0.35 + 2 * 0.025) / 4)


def test_bootstrap_of_equal_values_has_no_width():
    interval = bootstrap_interval(np.full(6, 0.25), np.array(list("aabbcc")), samples=50)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_bootstrap_resamples_users_and_not_queries():
    # One user holds every query: the mean cannot vary, however the queries differ.
    interval = bootstrap_interval(np.array([0.0, 1.0, 0.0, 1.0]), np.array(list("aaaa")), samples=50)
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_bootstrap_covers_the_mean_and_is_repeatable():
    values = np.random.default_rng(3).random(200)
    users = np.repeat(np.arange(50), 4)
    first = bootstrap_interval(values, users, samples=200, seed=7)
    assert first == bootstrap_interval(values, users, samples=200, seed=7)
    assert first.low < first.mean < first.high


def test_bootstrap_of_nothing_is_not_a_number():
    assert np.isnan(bootstrap_interval(np.array([]), np.array([]), samples=10).mean)


def test_per_user_auc_is_the_mean_over_users_with_both_classes():
    users = np.array(["a", "b", "a", "b", "a", "c", "b", "b"], object)
    labels = np.array([1, 0, 0, 1, 0, 1, 0, 1])
    scores = np.array([2.0, 9.0, 1.0, 5.0, 2.0, 0.0, 5.0, 9.5])
    # a: the positive at 2 beats 1 and ties with 2: 3/4. b: 5 loses to 9 and ties with 5, 9.5 beats both: 5/8.
    assert mean_user_area_under_roc(labels, scores, users) == pytest.approx((3 / 4 + (0.5 + 2) / 4) / 2)
    assert np.isnan(mean_user_area_under_roc(np.ones(3), np.arange(3.0), np.array(["a", "a", "b"])))

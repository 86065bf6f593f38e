import numpy as np
import pytest

from trainer.metrics import (
    area_under_roc,
    calibration_bins,
    expected_calibration_error,
    log_loss,
    mean_user_area_under_roc,
    roc_areas_by_weight,
    user_areas_under_roc,
)


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


def test_areas_of_weighted_rows_are_those_of_repeated_rows():
    random = np.random.default_rng(4)
    labels, scores = random.random(40) < 0.4, random.integers(8, size=40) / 8
    weights = random.integers(0, 4, size=(3, 40))
    found = roc_areas_by_weight(labels, scores)(weights)
    for area, times in zip(found, weights, strict=True):
        # Every pair counted by hand: 1 where the positive is above, a half where they tie.
        positives, negatives = np.repeat(scores, times * labels), np.repeat(scores, times * ~labels)
        pairs = np.sign(positives[:, None] - negatives[None, :])
        assert area == pytest.approx((pairs + 1).mean() / 2, abs=1e-12)


def test_area_of_weights_on_one_class_is_not_a_number():
    assert np.isnan(roc_areas_by_weight(np.array([1, 0]), np.array([0.2, 0.1]))(np.array([[1, 0]])))[0]


def test_each_user_has_an_area_of_their_own():
    labels = np.array([1, 0, 0, 1, 0, 1, 1])
    scores = np.array([0.9, 0.1, 0.9, 0.2, 0.8, 0.5, 0.6])
    users = np.array([0, 0, 0, 1, 1, 2, 3])
    # User 0: (.9,.1) won, (.9,.9) half -> 3/4. User 1: (.2,.8) lost -> 0. Users 2 and 3 have no negative.
    areas = user_areas_under_roc(labels, scores, users, 5)
    np.testing.assert_array_equal(areas, [0.75, 0, np.nan, np.nan, np.nan])
    assert mean_user_area_under_roc(labels, scores, np.array(list("aaabbcd"))) == (0.75 + 0) / 2


def test_what_only_tells_users_apart_lifts_the_area_over_all_rows_alone():
    labels = np.array([1, 1, 0, 0, 0, 1])
    within = np.array([0.3, 0.1, 0.2, 0.3, 0.1, 0.2])
    users = np.array(list("aaabbb"))
    apart = within + np.where(users == "a", 0.5, 0.0)
    assert area_under_roc(labels, apart) > area_under_roc(labels, within)
    assert mean_user_area_under_roc(labels, apart, users) == mean_user_area_under_roc(labels, within, users) == 0.5


def test_area_by_user_without_a_user_of_both_classes_is_not_a_number():
    assert np.isnan(mean_user_area_under_roc(np.array([1, 0]), np.array([0.5, 0.4]), np.array(["a", "b"])))

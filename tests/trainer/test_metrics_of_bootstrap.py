import numpy as np
import pytest

from trainer.metrics import Estimate, UserBootstrap, bootstrap_interval, roc_areas_by_weight


def test_bootstrap_of_equal_values_has_no_width():
    interval = bootstrap_interval(np.full(6, 0.25), np.array(list("aabbcc")), samples=50)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_bootstrap_resamples_users_and_not_queries():
    # Both users have the same mean: it cannot vary, however the queries differ.
    interval = bootstrap_interval(np.array([0.0, 1.0, 0.0, 1.0]), np.array(list("aabb")), samples=50)
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_one_user_has_a_mean_and_no_interval():
    interval = bootstrap_interval(np.array([0.0, 1.0]), np.array(list("aa")), samples=50)
    assert interval.mean == 0.5
    assert np.isnan([interval.low, interval.high]).all()


def test_bootstrap_covers_the_mean_and_is_repeatable():
    values = np.random.default_rng(3).random(200)
    users = np.repeat(np.arange(50), 4)
    first = bootstrap_interval(values, users, samples=200, seed=7)
    assert first == bootstrap_interval(values, users, samples=200, seed=7)
    assert first.low < first.mean < first.high


def test_bootstrap_of_nothing_is_not_a_number():
    assert np.isnan(bootstrap_interval(np.array([]), np.array([]), samples=10).mean)


def test_resamples_draw_as_many_users_as_there_are():
    bootstrap = UserBootstrap(np.array(list("aabbbc")), samples=100)
    # One row a user: the sum over a resample is the number of users drawn.
    assert (bootstrap.resample(np.ones((3, 1))) == 3).all()
    assert bootstrap.resample(np.eye(3)).std(axis=0).min() > 0


def test_means_over_some_rows_know_only_those_and_leave_out_what_is_no_number():
    bootstrap = UserBootstrap(np.array(list("aabb")), samples=20)
    values = np.array([1.0, 2.0, np.nan, 9.0])
    assert bootstrap.mean(values).value == 4.0
    assert bootstrap.mean(values, np.array([True, True, True, False])).value == 1.5
    assert np.isnan(bootstrap.mean(values, np.array([False, False, True, False])).interval().mean)


def test_a_resample_without_the_rows_is_no_zero():
    bootstrap = UserBootstrap(np.array(list("abc")), samples=200)
    found = bootstrap.mean(np.array([5.0, 5.0, 0.0]), np.array([True, True, False]))
    # One in 27 resamples is user c three times.
    assert 1 <= np.isnan(found.resamples).sum() < 30
    assert found.interval().low == found.interval().high == 5.0


def test_differences_are_paired():
    values = np.random.default_rng(1).random(60)
    users = np.repeat(np.arange(20), 3)
    bootstrap = UserBootstrap(users, samples=100)
    difference = (bootstrap.mean(values + 0.125) - bootstrap.mean(values)).interval()
    # One is the other and an eighth in every resample: their difference does not vary, though each of them does.
    assert (difference.low, difference.high) == pytest.approx((0.125, 0.125))
    assert bootstrap.mean(values).interval().high - bootstrap.mean(values).interval().low > 0.05


def test_area_of_a_resample_is_the_area_of_its_rows():
    random = np.random.default_rng(2)
    users, labels, scores = random.integers(6, size=50), random.random(50) < 0.5, random.random(50)
    bootstrap = UserBootstrap(users, samples=4)
    found = bootstrap.statistic(roc_areas_by_weight(labels, scores))
    drawn = bootstrap.resample(np.eye(6)).astype(int)
    for area, times in zip(found.resamples, drawn, strict=True):
        rows = np.repeat(np.arange(50), times[users])
        positives, negatives = scores[rows][labels[rows]], scores[rows][~labels[rows]]
        signs = np.sign(positives[:, None] - negatives[None, :])
        assert area == pytest.approx((signs + 1).mean() / 2, abs=1e-12)


def test_centred_resamples_keep_their_width_and_lose_their_shift():
    resamples = np.array([0.1, 0.2, np.nan, 0.3])
    np.testing.assert_allclose(Estimate(0.5, resamples).centred().resamples, [0.4, 0.5, np.nan, 0.6])
    # No share is above 1.
    np.testing.assert_allclose(Estimate(0.95, resamples).centred().resamples, [0.85, 0.95, np.nan, 1.0])

import numpy as np
import pytest
import tensorflow as tf
from sklearn.isotonic import IsotonicRegression

from trainer.calibration import SMALLEST_SLOPE, Isotonic, Platt, fit_calibration, fit_isotonic, fit_platt


def test_platt_finds_the_slope_and_intercept_that_made_the_labels():
    scores = np.repeat([-1.0, 1.0], 40_000)
    # 25% positive at -1 and 75% at 1: log odds -log 3 and log 3.
    labels = np.tile([1, 0, 0, 0], 10_000).tolist() + np.tile([1, 1, 1, 0], 10_000).tolist()
    slope, intercept = fit_platt(scores, np.array(labels))
    assert slope == pytest.approx(np.log(3), abs=1e-3)
    assert intercept == pytest.approx(0.0, abs=1e-3)


def test_platt_never_reverses_a_score():
    scores = np.repeat([-1.0, 1.0], 100)
    slope, intercept = fit_platt(scores, (scores < 0).astype(int))
    assert slope == SMALLEST_SLOPE
    assert intercept == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_platt_is_finite_when_one_class_is_absent(label):
    slope, intercept = fit_platt(np.linspace(-1, 1, 50), np.full(50, label))
    assert np.isfinite([slope, intercept]).all()
    assert (intercept > 0) == (label == 1)


def test_isotonic_pools_what_would_decrease():
    # Scores 2 and 3 decrease (1 then 0): pooled to 1/2. Two rows of score 4 are one knot of mean 1/2, pooled too.
    found = fit_isotonic(np.array([1.0, 2, 3, 4, 4, 5]), np.array([0, 1, 0, 1, 0, 1]))
    assert found.scores.tolist() == [1, 2, 4, 5]
    # A pool of one class stays 1 / (6 + 2) away from 0 and 1.
    assert found.probabilities.tolist() == [0.125, 0.5, 0.5, 0.875]


def test_isotonic_interpolates_between_knots_and_stays_flat_beyond():
    function = Isotonic(np.array([0, 1, 3], np.float32), np.array([0.1, 0.3, 0.7], np.float32))
    found = function.apply(tf.constant([[-5.0, 0.0, 0.5], [2.0, 3.0, 9.0]])).numpy()
    assert found == pytest.approx(np.array([[0.1, 0.1, 0.2], [0.5, 0.7, 0.7]]))


def test_isotonic_gives_what_sklearn_gives():
    random = np.random.default_rng(0)
    scores = np.round(random.normal(size=2000), 2).astype(np.float32)
    labels = (random.random(2000) < 1 / (1 + np.exp(-2 * scores))).astype(int)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    asked = np.linspace(-5, 5, 500).astype(np.float32)
    margin = 1 / 2002
    expected = np.clip(reference.predict(asked), margin, 1 - margin)
    found = fit_isotonic(scores, labels).apply(tf.constant(asked)).numpy()
    assert np.all(np.diff(found) >= 0)
    # Between a pool of one class and the next knot the margin bends the line by less than itself.
    assert found == pytest.approx(expected, abs=margin)
    inside = (expected > 0.05) & (expected < 0.95)
    assert inside.sum() > 50
    assert found[inside] == pytest.approx(expected[inside], abs=1e-6)


def test_isotonic_takes_one_score_and_infinite_ones():
    function = fit_isotonic(np.array([2.0, 2.0]), np.array([0, 1]))
    assert function.apply(tf.constant([-np.inf, 2.0, np.inf])).numpy().tolist() == [0.5, 0.5, 0.5]


def test_the_calibration_is_the_one_that_is_named():
    scores, labels = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 1, 0, 1])
    assert isinstance(fit_calibration("platt", scores, labels), Platt)
    assert isinstance(fit_calibration("isotonic", scores, labels), Isotonic)

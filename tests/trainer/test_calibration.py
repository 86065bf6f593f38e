import numpy as np
import pytest

from trainer.calibration import SMALLEST_SLOPE, fit_platt


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

"""From scores to probabilities."""

import numpy as np

SMALLEST_SLOPE = 0.01
"""Calibration may flatten a score, never reverse it."""


def fit_platt(scores: np.ndarray, labels: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Slope and intercept with which sigmoid(slope * score + intercept) is the probability of a positive.

    Args:
        scores: [n] logits of rows that training did not see.
        labels: [n] 0 or 1.
        steps: most Newton steps.

    Returns:
        slope (at least `SMALLEST_SLOPE`) and intercept.

    References:
        Platt, "Probabilistic Outputs for Support Vector Machines", 1999: targets are pulled a little from 0 and 1,
        so that a split with one class alone has a finite answer.
    """
    positives, negatives = float((labels > 0).sum()), float((labels <= 0).sum())
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    inputs = np.stack([(scores.astype(np.float64) - centre) / scale, np.ones(len(scores))], axis=1)
    weights = np.zeros(2)
    for _ in range(steps):
        predicted = 1.0 / (1.0 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (predicted - targets)
        curvature = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + 1e-6 * np.eye(2)
        change = np.linalg.solve(curvature, gradient)
        weights = weights - change
        if np.abs(change).max() < 1e-9:
            break
    slope = float(weights[0]) / scale
    if slope < SMALLEST_SLOPE:
        return SMALLEST_SLOPE, float(np.log((positives + 1) / (negatives + 1)) - SMALLEST_SLOPE * centre)
    return slope, float(weights[1]) - slope * centre

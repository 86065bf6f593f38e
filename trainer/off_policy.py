"""Off-policy evaluation: what a policy would have earned, told from what another policy logged.

Every estimate is a ratio of two sums over logged decisions, so that one resampling of users gives the intervals of all.

References:
    Dudík, Langford, Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011.
    Swaminathan, Joachims, "The Self-Normalized Estimator for Counterfactual Learning", NeurIPS 2015.
    Wang, Agarwal, Dudík, "Optimal and Adaptive Off-policy Evaluation in Contextual Bandits", ICML 2017 (switch).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainer.metrics import Interval
from trainer.off_policy_config import OffPolicyConfig

ESTIMATORS = ("direct", "ips", "snips", "dr", "switch_dr")
"""Direct method, inverse propensity scores, the same self-normalised, doubly robust, doubly robust with a switch."""

_DRAWN_AT_ONCE = 5_000_000


@dataclass(frozen=True)
class LoggedDecisions:
    """n decisions of the logging policy, and what the target policy would have made of them.

    Attributes:
        rewards: [n] float.
        propensities: [n] probability with which the logging policy took its action, in (0, 1].
        target: [n] probability with which the target policy takes that action, in [0, 1].
        predicted: [n] reward that a model expects of that action. The model has not learned from these rewards.
        expected: [n] reward that the model expects of the target policy: the sum over actions of the policy's
            probability times the predicted reward.
        requests: [n] int codes of the requests.
        users: [n] int codes of the users; their decisions are resampled together.
    """

    rewards: np.ndarray
    propensities: np.ndarray
    target: np.ndarray
    predicted: np.ndarray
    expected: np.ndarray
    requests: np.ndarray
    users: np.ndarray

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def weights(self) -> np.ndarray:
        """[n] importance weights, uncut: how much likelier the target policy takes the logged action."""
        return self.target / self.propensities


@dataclass(frozen=True)
class Estimate:
    """What a policy earns a decision, and how much more that is than what the logging policy earned."""

    value: Interval
    gain: Interval


@dataclass(frozen=True)
class OffPolicyResult:
    """Estimates, or why there are none.

    Attributes:
        refusal: why no number is given; None where the estimates stand.
        estimates: by estimator; empty when refused.
        logged: what the logging policy earned.
        mean_weight: 1 is expected. What is missing is the share of the target's choices that were never logged.
        effective_size: as many decisions of the target policy itself would tell as much (Kish).
        largest_weight: before any cut.
        cut: by how much cutting weights lowers the IPS estimate.
    """

    refusal: str | None
    estimates: Mapping[str, Estimate]
    logged: Interval | None = None
    mean_weight: Interval | None = None
    effective_size: float | None = None
    largest_weight: float | None = None
    cut: float | None = None


def evaluate_policy(
    decisions: LoggedDecisions, config: OffPolicyConfig, samples: int, seed: int = 0
) -> OffPolicyResult:
    """Estimates the target policy's value, unless the log cannot tell it.

    Args:
        decisions: n of them.
        config: when weights are cut, when switch-DR switches, and what is too little overlap.
        samples: resamples of users, for the 95% intervals.
        seed: of the resampling.
    """
    refusal = _unusable(decisions, config)
    if refusal:
        return OffPolicyResult(refusal, {})
    weights = decisions.weights
    terms = estimator_terms(decisions, config)
    ones = np.ones(len(decisions))
    intervals, draws = _resample(
        {**terms, "logged": (decisions.rewards, ones), "weight": (weights, ones)}, decisions.users, samples, seed
    )
    refusal = _no_overlap(weights, intervals["weight"], config)
    estimates = {}
    for name in () if refusal else ESTIMATORS:
        gain = _interval(intervals[name].mean - intervals["logged"].mean, draws[name] - draws["logged"])
        estimates[name] = Estimate(intervals[name], gain)
    cut = float(np.mean((weights - _cut(weights, config)) * decisions.rewards))
    return OffPolicyResult(
        refusal=refusal,
        estimates=estimates,
        logged=intervals["logged"],
        mean_weight=intervals["weight"],
        effective_size=effective_sample_size(weights),
        largest_weight=float(weights.max()),
        cut=cut,
    )


def estimator_terms(decisions: LoggedDecisions, config: OffPolicyConfig) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each of `ESTIMATORS` two arrays [n]: the estimate is the sum of the first over the sum of the second."""
    ones = np.ones(len(decisions))
    weights = _cut(decisions.weights, config)
    residuals = decisions.rewards - decisions.predicted
    trusted = decisions.weights <= config.switch_above
    return {
        "direct": (decisions.expected, ones),
        "ips": (weights * decisions.rewards, ones),
        "snips": (weights * decisions.rewards, weights),
        "dr": (decisions.expected + weights * residuals, ones),
        "switch_dr": (decisions.expected + trusted * weights * residuals, ones),
    }


def effective_sample_size(weights: np.ndarray) -> float:
    """(sum of w) squared over the sum of w squared; 0 where all are 0."""
    squares = float(np.sum(np.square(weights)))
    return float(np.sum(weights)) ** 2 / squares if squares else 0.0


def softmax_policy(scores: np.ndarray, allowed: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [n, k] of a softmax over the allowed actions of each row.

    Args:
        scores: [n, k].
        allowed: [n, k] bool; a row with none has all zeros.
        temperature: scores are divided by it.
    """
    logits = np.where(allowed, scores / temperature, -np.inf)
    largest = np.max(logits, axis=1, keepdims=True, initial=np.finfo(np.float64).min)
    likelihoods = np.exp(logits - largest)
    return _normalised(likelihoods)


def epsilon_greedy_policy(scores: np.ndarray, allowed: np.ndarray, epsilon: float) -> np.ndarray:
    """Probabilities [n, k]: the best allowed action, and with probability epsilon any allowed one.

    Args:
        scores: [n, k].
        allowed: [n, k] bool; a row with none has all zeros.
        epsilon: in [0, 1].
    """
    best = np.zeros(scores.shape)
    best[np.arange(len(scores)), np.argmax(np.where(allowed, scores, -np.inf), axis=1)] = 1.0
    return (1 - epsilon) * np.where(allowed, best, 0.0) + epsilon * _normalised(allowed.astype(np.float64))


def _normalised(likelihoods: np.ndarray) -> np.ndarray:
    totals = likelihoods.sum(axis=1, keepdims=True)
    return np.divide(likelihoods, totals, out=np.zeros_like(likelihoods), where=totals > 0)


def _cut(weights: np.ndarray, config: OffPolicyConfig) -> np.ndarray:
    return weights if config.largest_weight is None else np.minimum(weights, config.largest_weight)


def _unusable(decisions: LoggedDecisions, config: OffPolicyConfig) -> str | None:
    propensities = decisions.propensities
    wrong = ~((propensities > 0) & (propensities <= 1))
    if wrong.any():
        return (
            f"{int(wrong.sum()):,} of {len(decisions):,} propensities are no probabilities in (0, 1], such as "
            f"{propensities[wrong][0]:g}"
        )
    for noun, codes, smallest in (
        ("requests", decisions.requests, config.smallest_requests),
        ("users", decisions.users, config.smallest_users),
    ):
        count = len(np.unique(codes))
        if count < smallest:
            return f"{count:,} {noun} are too few: at least {smallest:,} are needed"
    return None


def _no_overlap(weights: np.ndarray, mean_weight: Interval, config: OffPolicyConfig) -> str | None:
    """Why weights cannot carry an estimate.

    The mean weight is, in expectation, the share of the target's choices that the logging policy could have made
    too (Li et al., "Counterfactual Estimation and Optimization of Click Metrics in Search Engines", WWW 2015, test
    logged propensities by it): it finds missing support without knowing what else could have been shown.
    """
    size = effective_sample_size(weights)
    if size < config.smallest_effective_size:
        return (
            f"the two policies overlap too little: {len(weights):,} slots are worth {size:,.1f}, at least "
            f"{config.smallest_effective_size:,.0f} are needed"
        )
    if size < config.smallest_effective_share * len(weights):
        return (
            f"the two policies overlap too little: {len(weights):,} slots are worth {size:,.1f}, which is less than "
            f"{config.smallest_effective_share:.1%} of them"
        )
    if 1 - mean_weight.mean > config.largest_unsupported:
        return (
            f"about {1 - mean_weight.mean:.1%} of the policy's choices are missing from the log, at most "
            f"{config.largest_unsupported:.1%} may be"
        )
    if mean_weight.low > 1 + config.largest_unsupported:
        return (
            f"the mean importance weight is {mean_weight.mean:.3f} (at least {mean_weight.low:.3f}) where 1 is "
            "expected: the logged propensities are not those by which items were shown"
        )
    return None


def _resample(
    terms: Mapping[str, tuple[np.ndarray, np.ndarray]], users: np.ndarray, samples: int, seed: int
) -> tuple[dict[str, Interval], dict[str, np.ndarray]]:
    """Intervals, and the resampled values [samples] by name; all from the same resamples, so that they pair."""
    _, groups = np.unique(users, return_inverse=True)
    count = int(groups.max()) + 1
    totals = np.stack([np.bincount(groups, weights=part) for pair in terms.values() for part in pair], axis=1)
    random = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // count)
    sums = np.concatenate(
        [
            random.multinomial(count, np.full(count, 1 / count), size=min(at_once, samples - start)) @ totals
            for start in range(0, samples, at_once)
        ]
    )
    intervals, resampled = {}, {}
    for place, (name, (above, below)) in enumerate(terms.items()):
        total = float(below.sum())
        tops, bottoms = sums[:, 2 * place], sums[:, 2 * place + 1]
        resampled[name] = np.divide(tops, bottoms, out=np.zeros(samples), where=bottoms > 0)
        intervals[name] = _interval(float(above.sum()) / total if total else 0.0, resampled[name])
    return intervals, resampled


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, float(low), float(high))

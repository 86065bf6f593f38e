import json
from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.obp_reference import RECORDED
from trainer.off_policy import (
    ESTIMATORS,
    LoggedDecisions,
    effective_sample_size,
    epsilon_greedy_policy,
    estimator_terms,
    evaluate_policy,
    softmax_policy,
)
from trainer.off_policy_config import OffPolicyConfig

CONTEXTS, ACTIONS = 6, 5
CONFIG = OffPolicyConfig()
RANDOM = np.random.default_rng(20)
MEAN_REWARDS = RANDOM.uniform(0.1, 0.6, (CONTEXTS, ACTIONS))
EVERYTHING = np.ones((CONTEXTS, ACTIONS), bool)
LOGGING = softmax_policy(RANDOM.normal(size=(CONTEXTS, ACTIONS)), EVERYTHING, 2.0)
TARGET = softmax_policy(RANDOM.normal(size=(CONTEXTS, ACTIONS)), EVERYTHING, 1.5)
TRUE_VALUE = float((TARGET * MEAN_REWARDS).sum(axis=1).mean())
GOOD_MODEL = MEAN_REWARDS + 0.03
BAD_MODEL = np.full((CONTEXTS, ACTIONS), 0.8)


def log(
    seed: int, users: int = 150, each: int = 6, model=GOOD_MODEL, logging=LOGGING, target=TARGET, spread: float = 0.0
) -> LoggedDecisions:
    """Decisions of users who come `each` times; some like everything more than others do, by up to `spread`."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    context = random.integers(CONTEXTS, size=len(user))
    action = (random.random((len(user), 1)) > np.cumsum(logging[context], axis=1)).sum(axis=1).clip(max=ACTIONS - 1)
    mood = random.uniform(-spread, spread, users)[user] if spread else 0.0
    return LoggedDecisions(
        rewards=(random.random(len(user)) < MEAN_REWARDS[context, action] + mood).astype(float),
        propensities=logging[context, action],
        target=target[context, action],
        predicted=model[context, action],
        expected=(target * model).sum(axis=1)[context],
        requests=np.arange(len(user)),
        users=user,
    )


def values(decisions: LoggedDecisions, config: OffPolicyConfig = CONFIG) -> dict[str, float]:
    return {name: float(a.sum() / b.sum()) for name, (a, b) in estimator_terms(decisions, config).items()}


@pytest.fixture(scope="module")
def repeated() -> dict[str, np.ndarray]:
    """Estimates of 400 logs, by a good and by a bad reward model."""
    found: dict[str, list[float]] = {}
    for seed in range(400):
        for kind, model in (("", GOOD_MODEL), ("bad ", BAD_MODEL)):
            for name, value in values(log(seed, model=model)).items():
                found.setdefault(kind + name, []).append(value)
    return {name: np.array(one) for name, one in found.items()}


def two() -> LoggedDecisions:
    """Importance weights 1/2 and 2."""
    return LoggedDecisions(
        rewards=np.array([0.0, 1.0]),
        propensities=np.array([0.5, 0.25]),
        target=np.array([0.25, 0.5]),
        predicted=np.array([0.4, 0.8]),
        expected=np.array([0.5, 0.3]),
        requests=np.array([0, 1]),
        users=np.array([0, 1]),
    )


def test_estimates_of_two_decisions():
    found = values(two(), OffPolicyConfig(switch_above=1.0))
    assert found["direct"] == pytest.approx((0.5 + 0.3) / 2)
    assert found["ips"] == pytest.approx((0 + 2 * 1) / 2)
    assert found["snips"] == pytest.approx(2 * 1 / (0.5 + 2))
    assert found["dr"] == pytest.approx((0.5 + 0.5 * -0.4 + 0.3 + 2 * 0.2) / 2)
    assert found["switch_dr"] == pytest.approx((0.5 + 0.5 * -0.4 + 0.3) / 2)


def test_weight_on_the_switch_is_trusted():
    assert values(two(), OffPolicyConfig(switch_above=2.0))["switch_dr"] == values(two())["dr"]


def test_cut_weights_are_used_by_all_that_weigh():
    found = values(two(), OffPolicyConfig(largest_weight=1.0))
    assert found["ips"] == pytest.approx(1 / 2)
    assert found["snips"] == pytest.approx(1 / 1.5)
    assert found["dr"] == pytest.approx((0.5 + 0.5 * -0.4 + 0.3 + 0.2) / 2)


def test_estimates_are_those_of_obp():
    recorded = json.loads(RECORDED.read_text())
    arrays = {name: np.array(recorded[name]) for name in ("rewards", "actions", "propensities", "target", "predicted")}
    rows = np.arange(len(arrays["rewards"]))
    decisions = LoggedDecisions(
        rewards=arrays["rewards"],
        propensities=arrays["propensities"],
        target=arrays["target"][rows, arrays["actions"]],
        predicted=arrays["predicted"][rows, arrays["actions"]],
        expected=(arrays["target"] * arrays["predicted"]).sum(axis=1),
        requests=rows,
        users=rows,
    )
    ours = values(decisions, OffPolicyConfig(switch_above=recorded["switch_above"]))
    cut = values(decisions, OffPolicyConfig(largest_weight=recorded["largest_weight"]))
    ours |= {"cut_ips": cut["ips"], "cut_dr": cut["dr"]}
    assert ours == pytest.approx(recorded["values"], abs=1e-9)
    # Each option was at work: what it cuts or switches makes a difference.
    assert len({round(value, 6) for value in ours.values()}) == len(ours)


@pytest.mark.parametrize("name", ["ips", "dr", "bad dr"])
def test_estimator_is_unbiased_over_many_logs(repeated, name):
    found = repeated[name]
    assert abs(found.mean() - TRUE_VALUE) < 3 * found.std() / np.sqrt(len(found))


def test_direct_method_is_as_wrong_as_its_model_while_dr_mends_it(repeated):
    assert repeated["direct"].mean() - TRUE_VALUE == pytest.approx(0.03, abs=0.003)
    assert repeated["bad direct"].mean() == pytest.approx(0.8)
    assert abs(repeated["bad dr"].mean() - TRUE_VALUE) < 0.01


def test_doubly_robust_errs_less_than_inverse_propensities(repeated):
    error = {name: float(np.sqrt(np.mean((found - TRUE_VALUE) ** 2))) for name, found in repeated.items()}
    assert error["dr"] < 0.9 * error["ips"]
    assert error["snips"] < error["ips"]
    assert error["switch_dr"] <= error["dr"] * 1.001


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    logs, inside = 300, dict.fromkeys(("ips", "snips", "dr", "switch_dr"), 0)
    for seed in range(logs):
        result = evaluate_policy(log(1000 + seed, users=200, spread=0.1), CONFIG, 200, seed)
        for name in inside:
            interval = result.estimates[name].value
            inside[name] += interval.low <= TRUE_VALUE <= interval.high
    # A share of 0.95, counted on 300 logs, lies within 3 * 0.0126 of it.
    assert all(0.95 - 0.038 <= count / logs <= 0.95 + 0.038 for count in inside.values()), inside


def test_users_are_resampled_whole():
    once = log(5, users=400, each=1)
    again = LoggedDecisions(**{name: np.tile(values, 4) for name, values in vars(once).items()})
    apart = replace(again, users=np.arange(len(again)))
    width = {}
    for name, decisions in (("once", once), ("again", again), ("apart", apart)):
        interval = evaluate_policy(decisions, CONFIG, 2000).estimates["dr"].value
        width[name] = interval.high - interval.low
    # Telling everything four times tells nothing new; four times as many users would halve the interval.
    assert width["again"] == pytest.approx(width["once"])
    assert width["apart"] == pytest.approx(width["once"] / 2, rel=0.1)


def test_result_says_what_was_logged_and_how_much_more_the_policy_earns():
    decisions = log(1, users=2000)
    result = evaluate_policy(decisions, CONFIG, 300)
    assert result.refusal is None
    assert tuple(result.estimates) == ESTIMATORS
    assert result.logged.mean == decisions.rewards.mean()
    assert result.mean_weight.low < 1 < result.mean_weight.high
    true_gain = TRUE_VALUE - float((LOGGING * MEAN_REWARDS).sum(axis=1).mean())
    for name in ("ips", "snips", "dr", "switch_dr"):
        estimate = result.estimates[name]
        assert estimate.gain.mean == pytest.approx(estimate.value.mean - result.logged.mean)
        assert estimate.gain.low < true_gain < estimate.gain.high


def test_paired_gain_of_the_logging_policy_itself_is_nothing():
    result = evaluate_policy(log(2, target=LOGGING), CONFIG, 100)
    assert result.effective_size == pytest.approx(900)
    gain = result.estimates["ips"].gain
    assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


def test_same_seed_gives_the_same_intervals():
    assert evaluate_policy(log(3), CONFIG, 50, seed=1) == evaluate_policy(log(3), CONFIG, 50, seed=1)
    assert evaluate_policy(log(3), CONFIG, 50, seed=1) != evaluate_policy(log(3), CONFIG, 50, seed=2)


def test_result_says_how_much_cutting_weights_takes_away():
    decisions = log(4)
    whole = evaluate_policy(decisions, CONFIG, 50)
    cut = evaluate_policy(decisions, OffPolicyConfig(largest_weight=1.0), 50)
    assert whole.cut == 0
    assert cut.cut == pytest.approx(whole.estimates["ips"].value.mean - cut.estimates["ips"].value.mean)
    assert cut.cut > 0.01


NEVER_SHOWN = LOGGING * (np.arange(ACTIONS) > 0) / LOGGING[:, 1:].sum(axis=1, keepdims=True)
RARELY_SHOWN = np.array([[0.999, *[0.00025] * 4]] * CONTEXTS)
REFUSED = {
    "zero": (replace(log(0), propensities=np.zeros(900)), "900 of 900 propensities are no probabilities in (0, 1]", {}),
    "above 1": (
        replace(log(0), propensities=np.where(np.arange(900) == 3, 1.5, 0.5)),
        "1 of 900 propensities are no probabilities in (0, 1], such as 1.5",
        {},
    ),
    "nan": (replace(log(0), propensities=np.full(900, np.nan)), "900 of 900 propensities", {}),
    "few requests": (
        log(0, users=199, each=1),
        "199 requests are too few: at least 200 are needed",
        {"smallest_requests": 199},
    ),
    "few users": (
        log(0, users=29, each=40),
        "29 users are too few: at least 30 are needed",
        {"smallest_users": 29},
    ),
    "small": (log(0), "900 slots are worth", {"smallest_effective_size": 100}),
    "uneven": (
        log(0, users=3000, logging=np.full((CONTEXTS, ACTIONS), 0.2), target=RARELY_SHOWN[:, ::-1]),
        "which is less than 50.0% of them",
        {"smallest_effective_share": 0.01},
    ),
    "not supported": (
        log(0, users=600, logging=NEVER_SHOWN),
        "of the policy's choices are missing from the log, at most 10.0% may be",
        {"largest_unsupported": 0.5},
    ),
    "wrong propensities": (
        replace(log(0), propensities=LOGGING.min() / 2 * np.ones(900)),
        "the logged propensities are not those by which items were shown",
        {},
    ),
}

STRICTER = {
    "small": OffPolicyConfig(smallest_effective_size=900),
    "uneven": OffPolicyConfig(smallest_effective_share=0.5),
}


@pytest.mark.parametrize("case", REFUSED)
def test_log_that_cannot_tell_is_refused_without_a_number(case):
    decisions, sentence, looser = REFUSED[case]
    strict = STRICTER.get(case, CONFIG)
    result = evaluate_policy(decisions, strict, 100)
    assert sentence in result.refusal
    assert result.estimates == {}
    if looser:
        allowed = evaluate_policy(decisions, OffPolicyConfig(**{**strict.model_dump(), **looser}), 100)
        assert allowed.refusal is None and allowed.estimates


def test_policy_that_shows_what_was_hardly_ever_shown_is_refused():
    # Every context: the target takes an action that was shown once in 4,000 times.
    result = evaluate_policy(log(0, users=600, logging=RARELY_SHOWN, target=RARELY_SHOWN[:, ::-1]), CONFIG, 100)
    assert result.refusal is not None and result.estimates == {}


def test_effective_sample_size():
    assert effective_sample_size(np.array([1.0, 1.0, 1.0])) == pytest.approx(3)
    assert effective_sample_size(np.array([1.0, 3.0])) == pytest.approx(16 / 10)
    assert effective_sample_size(np.zeros(3)) == 0


def test_softmax_policy_spreads_over_what_is_allowed():
    scores = np.array([[np.log(1.0), np.log(3.0), 50.0], [0.0, 0.0, 0.0]])
    allowed = np.array([[True, True, False], [False, False, False]])
    assert softmax_policy(scores, allowed, 1.0) == pytest.approx(np.array([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]))
    # At half the temperature odds are squared.
    assert softmax_policy(scores, allowed, 0.5)[0] == pytest.approx(np.array([0.1, 0.9, 0.0]))


def test_epsilon_greedy_policy_takes_the_best_and_sometimes_any():
    scores = np.array([[1.0, 2.0, 9.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    allowed = np.array([[True, True, False, False], [False] * 4])
    assert epsilon_greedy_policy(scores, allowed, 0.2) == pytest.approx(np.array([[0.1, 0.9, 0, 0], [0, 0, 0, 0]]))

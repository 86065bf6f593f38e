from itertools import permutations

import numpy as np
import pyarrow as pa
import pytest

from components.evaluate.funnel import Pools
from components.evaluate.moments import find_moments, read_events
from components.evaluate.off_policy import logged_decisions, off_policy_report, pool_size, render_off_policy
from feature_repo.tables import TIMESTAMP
from trainer.off_policy_config import OffPolicyConfig

CATALOGUE = pa.array(list("abcdef"))
ITEMS, SLOTS = len(CATALOGUE), 3
SECOND = 1_000_000
CONFIG = OffPolicyConfig(pool=ITEMS)
ELSEWHERE = pa.table(
    {
        "user_id": ["somebody else"],
        "item_id": ["f"],
        "timestamp": pa.array([0], pa.int64()).cast(TIMESTAMP),
        "positive": [True],
    }
)


def shown(rows: list[tuple]) -> pa.Table:
    """Impressions of (request, user, item, second, position, label, propensity)."""
    names = ("request_id", "user_id", "item_id", "timestamp", "position", "label", "propensity")
    types = (pa.string(), pa.string(), pa.string(), pa.int64(), pa.int32(), pa.int8(), pa.float64())
    columns = [pa.array(list(values), kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)]
    table = pa.table(columns, list(names))
    return table.set_column(3, "timestamp", pa.array([row[3] * SECOND for row in rows], pa.int64()).cast(TIMESTAMP))


def moments_of(impressions: pa.Table):
    return find_moments(impressions, read_events(ELSEWHERE, CATALOGUE), CATALOGUE)


def decisions_of(rows: list[tuple], pools: Pools, config: OffPolicyConfig = CONFIG):
    impressions = shown(rows)
    return logged_decisions(config, impressions, moments_of(impressions), CATALOGUE, pools)


# The candidate would show c with odds 4, a with 3 and b with 1; it expects rewards of 0.5, 0.25 and 0.1.
POOL = Pools(np.array([[2, 0, 1, -1]]), np.log([[4.0, 3.0, 1.0, 9.0]]), np.array([[0.5, 0.25, 0.1, 9.0]]))


def test_each_slot_is_filled_from_what_is_not_shown_above():
    rows = [("r", "u", "b", 5, 3, 0, 0.3), ("r", "u", "c", 5, 1, 1, 0.2), ("r", "u", "a", 5, 2, 0, 0.4)]
    found, _ = decisions_of(rows, POOL)
    # Position 3 has c and a above it, position 2 has c; position 1 chooses among all three.
    assert found.target == pytest.approx([1.0, 4 / 8, 3 / 4])
    assert found.predicted == pytest.approx([0.1, 0.5, 0.25])
    assert found.expected == pytest.approx(
        [0.1, (4 * 0.5 + 3 * 0.25 + 0.1) / 8, (3 * 0.25 + 0.1) / 4],
    )
    assert found.rewards.tolist() == [0, 1, 0]
    assert found.propensities.tolist() == [0.3, 0.2, 0.4]
    assert len(set(found.requests)) == len(set(found.users)) == 1


def test_other_requests_of_the_same_moment_shut_nothing_out():
    found, _ = decisions_of([("r", "u", "c", 5, 1, 1, 0.2), ("s", "u", "a", 5, 2, 0, 0.4)], POOL)
    assert found.target == pytest.approx([4 / 8, 3 / 8])


def test_slots_without_a_position_shut_nothing_out():
    found, _ = decisions_of([("r", "u", "c", 5, None, 1, 0.2), ("r", "u", "a", 5, None, 0, 0.4)], POOL)
    assert found.target == pytest.approx([4 / 8, 3 / 8])


def test_items_that_the_candidate_would_not_show_have_no_chance():
    found, _ = decisions_of([("r", "u", "f", 5, 1, 1, 0.2), ("s", "u", "not in the catalogue", 5, 1, 1, 0.2)], POOL)
    assert found.target.tolist() == [0, 0]
    assert found.predicted.tolist() == [0, 0]


def test_temperature_and_epsilon_make_the_policy():
    rows = [("r", "u", "a", 5, 1, 1, 0.2)]
    cold, _ = decisions_of(rows, POOL, OffPolicyConfig(temperature=0.5))
    assert cold.target == pytest.approx([9 / 26])
    greedy, _ = decisions_of(rows, POOL, OffPolicyConfig(policy="epsilon_greedy", epsilon=0.3))
    assert greedy.target == pytest.approx([0.1])
    assert greedy.expected == pytest.approx([0.7 * 0.5 + 0.1 * (0.5 + 0.25 + 0.1)])


def test_slots_without_a_choice_or_a_propensity_are_left_out_but_still_shut_items_out():
    pools = Pools(*(np.concatenate([part, part]) for part in (POOL.items, POOL.scores, POOL.probabilities)))
    pools.items[1] = -1
    rows = [
        ("r", "u", "c", 5, 1, 1, 1.0),
        ("r", "u", "b", 5, 2, 0, None),
        ("r", "u", "a", 5, 3, 0, 0.4),
        ("s", "v", "a", 6, 1, 0, 0.4),
    ]
    found, left_out = decisions_of(rows, pools)
    assert found.target.tolist() == [1.0]
    assert left_out == {
        "without a propensity": 1,
        "shown without a choice": 1,
        "where the candidate has nothing to show": 1,
    }


REWARDS = np.array([0.7, 0.2, 0.5, 0.1, 0.4, 0.3])
LOGGING_SCORES = np.array([0.0, 0.8, 0.2, 1.0, 0.5, 0.1])
TARGET_SCORES = np.array([1.5, 0.2, 1.0, 0.0, 0.4, 0.6])


def chances(scores: np.ndarray, above: tuple[int, ...]) -> np.ndarray:
    """Plackett-Luce: a softmax over what is left."""
    odds = np.exp(scores)
    odds[list(above)] = 0
    return odds / odds.sum()


def true_value(scores: np.ndarray) -> float:
    """Reward a slot, when slots are filled by `scores` beneath what the logging policy put above."""
    total = 0.0
    for slot in range(SLOTS):
        for above in permutations(range(ITEMS), slot):
            likelihood = np.prod([chances(LOGGING_SCORES, above[:i])[item] for i, item in enumerate(above)])
            total += likelihood * chances(scores, above) @ REWARDS
    return total / SLOTS


@pytest.fixture(scope="module")
def explored() -> pa.Table:
    """500 users ask twice; three slots each, filled by Plackett-Luce."""
    random = np.random.default_rng(9)
    rows = []
    for request in range(1000):
        above: tuple[int, ...] = ()
        for position in range(1, SLOTS + 1):
            odds = chances(LOGGING_SCORES, above)
            item = int(random.choice(ITEMS, p=odds))
            label = int(random.random() < REWARDS[item])
            rows.append((f"r{request}", f"u{request % 500}", "abcdef"[item], request, position, label, odds[item]))
            above += (item,)
    return shown(rows)


def report(impressions: pa.Table, config: OffPolicyConfig = CONFIG, scores: np.ndarray = TARGET_SCORES):
    moments = moments_of(impressions)
    best = np.argsort(-scores)
    many = (len(moments.users), 1)
    pools = Pools(np.tile(best, many), np.tile(scores[best], many), np.tile(REWARDS[best] * 0.8, many))
    return off_policy_report(config, impressions, moments, CATALOGUE, pools, 200)


def test_candidates_reward_is_estimated_from_what_another_policy_explored(explored):
    found = report(explored)
    assert found["refused"] is None
    assert (found["slots"], found["requests"], found["users"]) == (3000, 1000, 500)
    truth, logged = true_value(TARGET_SCORES), true_value(LOGGING_SCORES)
    assert truth > logged + 0.05
    for name in ("ips", "snips", "dr", "switch_dr"):
        mean, low, high = found["estimates"][name]["value"]
        assert low < truth < high and abs(mean - truth) < 0.03
        _, low, high = found["estimates"][name]["gain"]
        assert low < truth - logged < high
    assert found["logged"][1] < logged < found["logged"][2]
    assert found["mean_weight"][1] < 1 < found["mean_weight"][2]
    # The reward model promises a fifth too little.
    assert found["estimates"]["direct"]["value"][0] == pytest.approx(0.8 * truth, abs=0.005)


def test_policy_far_from_what_was_explored_is_refused(explored):
    found = report(explored, OffPolicyConfig(pool=ITEMS, smallest_effective_share=0.5), 4 * TARGET_SCORES)
    assert found["refused"].startswith("the two policies overlap too little")
    assert found["estimates"] == {}
    (section,) = render_off_policy(found)
    assert "Not estimated: the two policies overlap too little" in section


def test_log_without_propensities_is_refused_and_the_funnel_hands_over_nothing(explored):
    place = explored.column_names.index("propensity")
    without = explored.set_column(place, "propensity", pa.nulls(3000, pa.float64()))
    for impressions in (without, explored.drop(["propensity"])):
        assert pool_size(CONFIG, impressions) == 0
        found = off_policy_report(CONFIG, impressions, moments_of(impressions), CATALOGUE, None, 50)
        assert found == {
            "refused": "the impressions of the test window have no propensities, map `propensity` where it is logged"
        }
        assert "Not estimated: the impressions of the test window have no propensities" in render_off_policy(found)[0]
    assert pool_size(CONFIG, explored) == ITEMS


def test_report_shows_the_estimates_and_what_they_rest_on(explored):
    found = report(explored)
    text = "".join(render_off_policy(found))
    assert "3,000 logged slots of 1,000 requests and 500 users" in text
    for name in ("as logged", "inverse propensity, self-normalised", "switch doubly robust"):
        assert name in text
    assert f"{found['estimates']['dr']['value'][0]:.4f}" in text

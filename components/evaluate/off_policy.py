"""What the candidate would have earned on the logged impressions, where these say how likely each was."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.evaluate.funnel import Pools
from components.evaluate.moments import Moments
from components.page import Html, heading, table
from trainer.examples import microseconds
from trainer.metrics import Interval
from trainer.off_policy import LoggedDecisions, epsilon_greedy_policy, evaluate_policy, softmax_policy
from trainer.off_policy_config import OffPolicyConfig

_REQUESTS_AT_ONCE = 5_000
_NAMES = {
    "direct": "direct method: what the model promises",
    "ips": "inverse propensity",
    "snips": "inverse propensity, self-normalised",
    "dr": "doubly robust",
    "switch_dr": "switch doubly robust",
}


def pool_size(config: OffPolicyConfig, impressions: pa.Table) -> int:
    """How many items of each moment the funnel has to hand over for `off_policy_report`; 0 where nothing was logged."""
    return config.pool if _propensities(impressions) is not None else 0


def off_policy_report(
    config: OffPolicyConfig,
    impressions: pa.Table,
    moments: Moments,
    catalogue: pa.Array,
    pools: Pools | None,
    samples: int,
) -> dict[str, Any]:
    """The candidate's reward a slot, estimated from the impressions of the test window, or why it cannot be.

    A slot (a request's position) is one decision: the logging policy and the candidate's policy fill it, given what the
    log shows above it. The candidate's policy draws from its `config.pool` best items that are not shown above. What is
    assumed: an item earns the same whatever stands beside it; the logged propensity is the probability of that item at
    that position given what stands above; a logging policy that could choose could have chosen all that the candidate
    would. Slots logged with propensity 1 left no choice and are left out.

    Args:
        config: the policy, and what is too little overlap.
        impressions: the test examples, with `propensity` and, where a request shows several items, `position`.
        moments: of the same impressions.
        catalogue: [items] sorted item ids.
        pools: of the candidate at the moments; its probabilities are the reward model.
        samples: resamples of users.

    Returns:
        `refused` (a sentence, or None), and as far as known `policy`, `slots`, `requests`, `users`, `left_out`,
        `effective_size`, `mean_weight`, `largest_weight`, `cut`, `logged` and `estimates`: by estimator `value` and
        `gain`, each [mean, low, high]. No estimates where refused.
    """
    if pools is None or _propensities(impressions) is None:
        return {
            "refused": "the impressions of the test window have no propensities, map `propensity` where it is logged"
        }
    decisions, left_out = logged_decisions(config, impressions, moments, catalogue, pools)
    told: dict[str, Any] = {
        "policy": _describe(config),
        "slots": len(decisions),
        "requests": len(np.unique(decisions.requests)),
        "users": len(np.unique(decisions.users)),
        "left_out": left_out,
    }
    result = evaluate_policy(decisions, config, samples)
    estimates = {name: {"value": _three(one.value), "gain": _three(one.gain)} for name, one in result.estimates.items()}
    told |= {"refused": result.refusal, "estimates": estimates}
    if result.logged is not None and result.mean_weight is not None:
        told |= {
            "logged": _three(result.logged),
            "mean_weight": _three(result.mean_weight),
            "effective_size": result.effective_size,
            "largest_weight": result.largest_weight,
            "cut": result.cut,
        }
    return told


def logged_decisions(
    config: OffPolicyConfig, impressions: pa.Table, moments: Moments, catalogue: pa.Array, pools: Pools
) -> tuple[LoggedDecisions, dict[str, int]]:
    """The slots in which the logging policy had a choice; and how many impressions were left out, by reason."""
    propensities = _propensities(impressions)
    if propensities is None:
        raise ValueError("`impressions` must have propensities. Received: none.")
    places = {key: place for place, key in enumerate(zip(moments.users, moments.timestamps, strict=True))}
    instants = microseconds(impressions.column("timestamp"))
    users = impressions.column("user_id").to_numpy()
    at = np.array([places[key] for key in zip(users, instants, strict=True)], np.int64)
    items = pc.fill_null(pc.index_in(impressions.column("item_id"), catalogue), -2).to_numpy()
    requests = impressions.column("request_id").combine_chunks().dictionary_encode().indices.to_numpy()
    positions = pc.cast(impressions.column("position"), pa.float64()).to_numpy()

    target, predicted, expected = np.zeros((3, len(items)))
    fillable = np.zeros(len(items), bool)
    # By place in the request; a row without a position stands nowhere, so it is above none.
    order = np.lexsort((positions, at, requests))
    starts = np.flatnonzero((np.diff(requests[order], prepend=-1) != 0) | (np.diff(at[order], prepend=-1) != 0))
    for rows in np.split(order, starts[_REQUESTS_AT_ONCE::_REQUESTS_AT_ONCE]):
        hit = pools.items[at[rows]] == items[rows][:, None]
        above = _shown_above(hit & ~np.isnan(positions[rows])[:, None], requests[rows], at[rows])
        allowed = (pools.items[at[rows]] >= 0) & ~above
        chances = _policy(config, pools.scores[at[rows]], allowed)
        rewards = pools.probabilities[at[rows]]
        target[rows] = (chances * hit).sum(axis=1)
        predicted[rows] = np.where(hit, rewards, 0.0).sum(axis=1)
        expected[rows] = (chances * rewards).sum(axis=1)
        fillable[rows] = allowed.any(axis=1)

    logged = ~np.isnan(propensities)
    choice = logged & (propensities != 1.0)
    taken = choice & fillable
    left_out = {
        "without a propensity": int((~logged).sum()),
        "shown without a choice": int((logged & ~choice).sum()),
        "where the candidate has nothing to show": int((choice & ~fillable).sum()),
    }
    decisions = LoggedDecisions(
        rewards=impressions.column("label").to_numpy().astype(np.float64)[taken],
        propensities=propensities[taken],
        target=target[taken],
        predicted=predicted[taken],
        expected=expected[taken],
        requests=requests[taken],
        users=np.unique(users.astype(str), return_inverse=True)[1][taken],
    )
    return decisions, left_out


def render_off_policy(told: Mapping[str, Any]) -> list[Html]:
    """The section of the report."""
    if "policy" not in told:
        return [heading("Off-policy evaluation", f"Not estimated: {told['refused']}.")]
    left_out = ", ".join(f"{count:,} impressions {reason}" for reason, count in told["left_out"].items() if count)
    note = (
        f"Reward a slot of the policy: {told['policy']}. {told['slots']:,} logged slots of {told['requests']:,} "
        f"requests and {told['users']:,} users"
    )
    if "effective_size" in told:
        note += f", worth {told['effective_size']:,.0f} slots of the policy's own"
    note += f". Left out: {left_out}." if left_out else "."
    if told["refused"]:
        return [heading("Off-policy evaluation", f"Not estimated: {told['refused']}. {note}")]
    rows = [["as logged", _cell(told["logged"]), ""]]
    rows += [[_NAMES[name], _cell(one["value"]), _cell(one["gain"])] for name, one in told["estimates"].items()]
    return [
        heading("Off-policy evaluation", note),
        table(("", "reward a slot", "more than logged"), rows, numbers=(1, 2)),
    ]


def _propensities(impressions: pa.Table) -> np.ndarray | None:
    """[n] float64, nan where a row has none; None where no row has any."""
    if "propensity" not in impressions.column_names or impressions.column("propensity").null_count == len(impressions):
        return None
    return pc.cast(impressions.column("propensity"), pa.float64()).to_numpy()


def _shown_above(hit: np.ndarray, requests: np.ndarray, at: np.ndarray) -> np.ndarray:
    """[n, p] bool: whether a pool's item stands further above in the same request; rows are in that order."""
    seen = np.cumsum(hit, axis=0, dtype=np.int32) - hit
    new = (np.diff(requests, prepend=-1) != 0) | (np.diff(at, prepend=-1) != 0)
    return seen > seen[np.flatnonzero(new)][np.cumsum(new) - 1]


def _policy(config: OffPolicyConfig, scores: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    if config.policy == "softmax":
        return softmax_policy(scores, allowed, config.temperature)
    return epsilon_greedy_policy(scores, allowed, config.epsilon)


def _describe(config: OffPolicyConfig) -> str:
    if config.policy == "softmax":
        return (
            f"a softmax of the candidate's scores over its {config.pool} best items, temperature {config.temperature:g}"
        )
    return f"the candidate's best item, and with probability {config.epsilon:g} any of its {config.pool} best"


def _three(interval: Interval) -> list[float]:
    return [interval.mean, interval.low, interval.high]


def _cell(value: list[float]) -> Html:
    mean, low, high = value
    return Html(f'{mean:.4f}<br><span class="soft">{low:.4f}, {high:.4f}</span>')

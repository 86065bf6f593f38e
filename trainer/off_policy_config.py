"""How a candidate's policy is judged by what another policy logged."""

from typing import Literal

from pydantic import Field

from feature_repo.model import StrictModel


class OffPolicyConfig(StrictModel):
    """Section `evaluate.off_policy` of a project config.

    Attributes:
        policy: what is evaluated, slot by slot: `softmax` of the candidate's scores, or `epsilon_greedy`: the best
            item, and with probability `epsilon` any of them.
        temperature: of the softmax: scores are divided by it.
        epsilon: share of the epsilon-greedy policy's slots that are filled at random.
        pool: how many of the funnel's best items a slot is filled from.
        largest_weight: importance weights are cut to it; never when absent. Cut weights estimate too low a value (of
            rewards that are not negative), and the result says by how much at most.
        switch_above: weights above it are not used by switch-DR, which then trusts the reward model.
        smallest_requests, smallest_users: fewer are no evidence, and intervals by resampling users need some.
        smallest_effective_size: fewer effective slots are no evidence.
        smallest_effective_share: of the slots; a smaller share means that the two policies show different things.
        largest_unsupported: most of the policy's choices that the logging policy may never have made, as a share.
    """

    policy: Literal["softmax", "epsilon_greedy"] = "softmax"
    temperature: float = Field(default=1.0, gt=0)
    epsilon: float = Field(default=0.1, ge=0, le=1)
    pool: int = Field(default=100, ge=2)
    largest_weight: float | None = Field(default=None, gt=0)
    switch_above: float = Field(default=10.0, gt=0)
    smallest_requests: int = Field(default=200, ge=2)
    smallest_users: int = Field(default=30, ge=2)
    smallest_effective_size: float = Field(default=100.0, gt=0)
    smallest_effective_share: float = Field(default=0.01, ge=0, le=1)
    largest_unsupported: float = Field(default=0.1, ge=0, lt=1)

"""What a contestant is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.benchmarks.quality.problem import Phase, Problem

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a contestant makes of one round.

    Attributes:
        ranks: [p] of the items asked for, by the name of the list; the contestant's own name, and those of its parts.
        seconds: to train.
        found: what training found that is used when it is fitted again, such as the best epoch.
        extra: arrays that the run keeps, by name.
        part_seconds: to train, of the lists where it differs.
    """

    ranks: Mapping[str, np.ndarray]
    seconds: float
    found: Params = field(default_factory=dict)
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    part_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """A model and what may be tuned of it.

    Attributes:
        name: of its row in the table.
        answer: given the problem, the round, the parameters and, for the test round, what validation found: trains
            on the round's log and answers its queries.
        first: parameters of the first trial: what practitioners start from.
        space: choices of every parameter.
        environment: `main`, or `peers` for what needs packages that the product does not have.
    """

    name: str
    answer: Callable[[Problem, Phase, Params, Params | None], Answer]
    first: Params
    space: Mapping[str, tuple]
    environment: str = "main"

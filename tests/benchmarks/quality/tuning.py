"""Tuning, by one rule for all."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Params


@dataclass(frozen=True)
class Budget:
    """The effort that every contestant is given on every protocol.

    Attributes:
        trials: at most so many.
        seconds: no trial starts after so long; the one under way is finished. The first always runs.
    """

    trials: int
    seconds: float


@dataclass(frozen=True)
class Trial:
    """Parameters, what they gave on validation, and how long it took.

    Attributes:
        params: of the trial.
        value: on validation; higher is better.
        seconds: of training and answering.
        found: by training, such as the best epoch.
    """

    params: Params
    value: float
    seconds: float
    found: Params


def search(
    evaluate: Callable[[Params], tuple[float, Params]],
    first: Params,
    space: Mapping[str, Sequence[Any]],
    budget: Budget,
    seed: int,
    report: Callable[[str], None],
) -> list[Trial]:
    """Tries parameters until the budget is used up.

    Trials are the first parameters, then in turn a change of one or two parameters of the best so far and a random
    draw of all: some search near, some far, however many trials there is time for.

    Args:
        evaluate: the value of parameters on validation, and what training found.
        first: parameters of the first trial.
        space: choices of every parameter.
        budget: the effort.
        seed: of the draws.
        report: is told of every trial.

    Returns:
        The trials in order.
    """
    begun = time.perf_counter()
    trials: list[Trial] = []
    draws = Draws(first, space, seed)
    while len(trials) < budget.trials and (not trials or time.perf_counter() - begun < budget.seconds):
        params = draws.propose(trials)
        if params is None:
            break
        started = time.perf_counter()
        value, found = evaluate(params)
        trials.append(Trial(params, value, time.perf_counter() - started, dict(found)))
        shown = ", ".join(f"{name}={one}" for name, one in params.items()) or "nothing to tune"
        report(f"trial {len(trials)}: {value:.4f}, {trials[-1].seconds:.1f} s, {shown}")
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest value; of equal ones the first."""
    return max(trials, key=lambda trial: trial.value)


class Draws:
    """Proposes parameters, each combination once.

    Args:
        first: parameters of the first trial.
        space: choices of every parameter.
        seed: of the draws.
    """

    def __init__(self, first: Params, space: Mapping[str, Sequence[Any]], seed: int) -> None:
        self._first = dict(first)
        self._space = {name: choices for name, choices in space.items() if len(choices) > 1}
        self._generator = np.random.default_rng(seed)
        self._proposed: set[str] = set()

    def propose(self, trials: Sequence[Trial]) -> dict[str, Any] | None:
        """The parameters of the next trial, given those so far; None when nothing new is found."""
        for params in self._candidates(trials):
            key = repr(sorted(params.items()))
            if key not in self._proposed:
                self._proposed.add(key)
                return params
        return None

    def _candidates(self, trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
        if not trials:
            yield self._first
        names = list(self._space)
        for _ in range(200 if names else 0):
            if len(trials) % 2 == 0:
                yield self._first | {name: self._choose(name) for name in names}
            else:
                count = min(len(names), int(self._generator.integers(1, 3)))
                changed = self._generator.choice(len(names), count, replace=False)
                yield dict(best_of(trials).params) | {names[place]: self._choose(names[place]) for place in changed}

    def _choose(self, name: str) -> Any:
        choices = self._space[name]
        return choices[self._generator.integers(len(choices))]

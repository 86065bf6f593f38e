"""Tuning, by one rule for all."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Problem
from tests.benchmarks.quality.ranks import ndcg_at_k


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
        ndcg_at_10: mean over the validation queries.
        seconds: of training and answering.
        found: by training, such as the best epoch.
    """

    params: Params
    ndcg_at_10: float
    seconds: float
    found: Params


def tune(
    contestant: Contestant, problem: Problem, budget: Budget, seed: int, report: Callable[[str], None]
) -> tuple[list[Trial], Answer]:
    """Tunes on validation, then answers the test queries with the best parameters.

    Trials are the contestant's first parameters, then random draws, and from half of the trials on changes of one or
    two parameters of the best so far.

    Args:
        contestant: to be tuned.
        problem: its validation round is asked in every trial, its test round once.
        budget: the effort.
        seed: of the draws.
        report: is told of every trial.

    Returns:
        All trials in order, and the answer to the test round.
    """
    begun = time.perf_counter()
    trials: list[Trial] = []
    draws = Draws(contestant, seed)
    while len(trials) < budget.trials and (not trials or time.perf_counter() - begun < budget.seconds):
        params = draws.propose(trials, budget.trials)
        if params is None:
            break
        started = time.perf_counter()
        answer = contestant.answer(problem, problem.validation, params, None)
        ranks = answer.ranks[contestant.name]
        value = float(ndcg_at_k(ranks, problem.validation.pair_queries, 10).mean())
        trials.append(Trial(dict(params), value, time.perf_counter() - started, dict(answer.found)))
        report(f"trial {len(trials)}: validation NDCG@10 {value:.4f}, {trials[-1].seconds:.1f} s, {_short(params)}")
    best = max(trials, key=lambda trial: trial.ndcg_at_10)
    return trials, contestant.answer(problem, problem.test, best.params, best.found)


class Draws:
    """Proposes parameters, each combination once.

    Args:
        contestant: whose space is searched.
        seed: of the draws.
    """

    def __init__(self, contestant: Contestant, seed: int) -> None:
        self._first = dict(contestant.first)
        self._space: dict[str, Sequence[Any]] = {
            name: choices
            for name, choices in contestant.space.items()
            if len(choices) > 1
        }
        self._generator = np.random.default_rng(seed)
        self._proposed: set[str] = set()

    def propose(self, trials: Sequence[Trial], most: int) -> dict[str, Any] | None:
        """The next parameters, or None when nothing new is found."""
        for params in self._candidates(trials, most):
            key = repr(sorted(params.items()))
            if key not in self._proposed:
                self._proposed.add(key)
                return params
        return None

    def _candidates(self, trials: Sequence[Trial], most: int) -> Iterator[dict[str, Any]]:
        if not trials:
            yield self._first
        names = list(self._space)
        for _ in range(200 if names else 0):
            if len(trials) < most / 2:
                yield self._first | {name: self._choose(name) for name in names}
            else:
                best = max(trials, key=lambda trial: trial.ndcg_at_10).params
                changed = self._generator.choice(len(names), min(len(names), self._generator.integers(1, 3)), False)
                yield dict(best) | {names[place]: self._choose(names[place]) for place in changed}

    def _choose(self, name: str) -> Any:
        choices = self._space[name]
        return choices[self._generator.integers(len(choices))]


def trial_records(trials: Sequence[Trial]) -> list[Mapping[str, Any]]:
    """The trials as JSON can hold them."""
    return [asdict(trial) for trial in trials]


def _short(params: Params) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items()) or "nothing to tune"

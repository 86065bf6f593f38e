"""One contestant on one problem, as a process of its own: `python -m tests.benchmarks.quality.contest`.

Imports nothing of the product, so that it runs in the peers' environment too; the funnel imports what it needs.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Params
from tests.benchmarks.quality.contestants.registry import CONTESTANTS
from tests.benchmarks.quality.problem import load_problem
from tests.benchmarks.quality.ranks import ndcg_at_k
from tests.benchmarks.quality.tuning import Budget, best_of, search


def main() -> None:
    """Tunes a contestant on the validation round and writes its trials and the ranks of the test queries."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contestant", choices=list(CONTESTANTS))
    parser.add_argument("--problem", type=Path, required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    contestant, problem = CONTESTANTS[arguments.contestant], load_problem(arguments.problem)
    validation = problem.validation

    def evaluate(params: Params) -> tuple[float, Params]:
        answer = contestant.answer(problem, validation, params, None)
        ranks = answer.ranks[contestant.name]
        return float(ndcg_at_k(ranks, validation.pair_queries, 10).mean()), answer.found

    budget = Budget(arguments.trials, arguments.seconds)
    trials = search(
        evaluate, contestant.first, contestant.space, budget, seed=1, report=lambda line: print(line, flush=True)
    )
    best = best_of(trials)
    answer = contestant.answer(problem, problem.test, best.params, best.found)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    ranks = {f"ranks.{name}": values for name, values in answer.ranks.items()}
    extra = {f"extra.{name}": values for name, values in answer.extra.items()}
    with arguments.out.with_suffix(".npz").open("wb") as file:
        np.savez(file, **ranks, **extra)
    record = {
        "contestant": contestant.name,
        "budget": asdict(budget),
        "trials": [asdict(trial) for trial in trials],
        "best": asdict(best),
        "seconds_to_train": {name: answer.part_seconds.get(name, answer.seconds) for name in answer.ranks},
    }
    # Written last: a record means that the ranks are there.
    arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

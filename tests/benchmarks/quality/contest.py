"""One contestant on one problem, as a process of its own: `python -m tests.benchmarks.quality.contest`.

Imports nothing of the product, so that it runs in the peers' environment too; the funnel imports what it needs.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tests.benchmarks.quality.contestants.registry import CONTESTANTS
from tests.benchmarks.quality.problem import load_problem
from tests.benchmarks.quality.tuning import Budget, trial_records, tune


def main() -> None:
    """Tunes a contestant and writes its trials and the ranks of the test queries."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contestant")
    parser.add_argument("--problem", type=Path, required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    contestant = CONTESTANTS[arguments.contestant]
    problem = load_problem(arguments.problem)
    trials, answer = tune(
        contestant,
        problem,
        Budget(arguments.trials, arguments.seconds),
        seed=1,
        report=lambda line: print(line, flush=True),
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    ranks = {f"ranks.{name}": values for name, values in answer.ranks.items()}
    extra = {f"extra.{name}": values for name, values in answer.extra.items()}
    with arguments.out.with_suffix(".npz").open("wb") as file:
        np.savez(file, **ranks, **extra)
    record = {
        "contestant": contestant.name,
        "trained_on": contestant.trained_on,
        "budget": {"trials": arguments.trials, "seconds": arguments.seconds},
        "trials": trial_records(trials),
        "best": max(trial_records(trials), key=lambda trial: trial["ndcg_at_10"]),
        "seconds_to_train": answer.seconds,
    }
    # Written last: a record means that the ranks are there.
    arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

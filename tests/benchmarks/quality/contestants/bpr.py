"""BPR of the package implicit.

A user's trained vector (nothing for a new user) is where the fold-in of the recent history starts; with no steps it
stays as it is.
"""

import time

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.contestants.fold_in import fold_in
from tests.benchmarks.quality.problem import Phase, Problem, histories, interactions
from tests.benchmarks.quality.ranks import ranks_of_pairs


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    begun = time.perf_counter()
    learned = interactions(phase.log, len(problem.user_attributes), problem.items, params["other_weight"])
    model = BayesianPersonalizedRanking(
        factors=params["factors"],
        learning_rate=params["learning_rate"],
        regularization=params["regularisation"],
        iterations=params["iterations"],
        random_state=1,
        num_threads=2,
    )
    model.fit(learned, show_progress=False)
    seconds = time.perf_counter() - begun
    # The last of the factors is the item's bias.
    vectors, biases = model.item_factors[:, :-1], model.item_factors[:, -1]
    trained = model.user_factors[:, :-1]
    start = np.where(np.isin(phase.users, phase.log.users)[:, None], trained[phase.users], 0.0)
    known = histories(phase, problem.items, params["decay"], params["other_weight"])
    pull = params["fold_in_regularisation"]
    users = fold_in(known, vectors, biases, start, params["fold_in_steps"], 0.1, pull, seed=1)
    return Answer({"BPR": ranks_of_pairs(phase, lambda part: users[part] @ vectors.T + biases)}, seconds)


BPR = Contestant(
    "BPR",
    _answer,
    {
        "factors": 64,
        "learning_rate": 0.05,
        "regularisation": 0.01,
        "iterations": 100,
        "other_weight": 0.0,
        "decay": 0.8,
        "fold_in_steps": 30,
        "fold_in_regularisation": 0.1,
    },
    {
        "factors": (16, 32, 64, 128),
        "learning_rate": (0.01, 0.02, 0.05, 0.1, 0.2),
        "regularisation": (0.0001, 0.001, 0.01, 0.03, 0.1),
        "iterations": (50, 100, 200, 400),
        "other_weight": (0.0, 1.0),
        "decay": (0.7, 0.8, 0.9, 0.95, 1.0),
        "fold_in_steps": (0, 10, 30, 60),
        "fold_in_regularisation": (0.001, 0.01, 0.1, 0.3),
    },
    environment="peers",
)

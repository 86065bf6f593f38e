"""iALS of the package implicit."""

import time

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Phase, Problem, histories, interactions
from tests.benchmarks.quality.ranks import ranks_of_pairs


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    from implicit.cpu.als import AlternatingLeastSquares

    begun = time.perf_counter()
    learned = interactions(phase.log, len(problem.user_attributes), problem.items, params["other_weight"])
    model = AlternatingLeastSquares(
        factors=params["factors"],
        regularization=params["regularisation"],
        alpha=params["alpha"],
        iterations=params["iterations"],
        random_state=1,
    )
    model.fit(learned, show_progress=False)
    seconds = time.perf_counter() - begun
    # Everybody's vector is solved for what is known at the moment, as in training.
    known = histories(phase, problem.items, params["decay"], params["other_weight"])
    users = model.recalculate_user(np.arange(known.shape[0]), known)
    return Answer({"iALS": ranks_of_pairs(phase, lambda part: users[part] @ model.item_factors.T)}, seconds)


IALS = Contestant(
    "iALS",
    _answer,
    {"factors": 64, "regularisation": 1.0, "alpha": 4.0, "iterations": 15, "decay": 0.95, "other_weight": 1.0},
    {
        "factors": (16, 32, 64, 96, 128, 192),
        "regularisation": (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        "alpha": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 40.0),
        "iterations": (8, 15, 30),
        "decay": (0.8, 0.9, 0.95, 0.98, 1.0),
        "other_weight": (0.0, 0.25, 0.5, 1.0),
    },
    environment="peers",
)

"""EASE: a linear item-to-item model in closed form."""

import time

import numpy as np
from scipy import sparse

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Phase, Problem, histories, interactions
from tests.benchmarks.quality.ranks import ranks_of_pairs


def item_weights(matrix: sparse.csr_matrix, regularisation: float) -> np.ndarray:
    """[items, items] weights with an empty diagonal.

    References:
        Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    """
    gram = np.asarray((matrix.T @ matrix).todense(), np.float64)
    gram[np.diag_indices_from(gram)] += regularisation
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    begun = time.perf_counter()
    learned = interactions(phase.log, len(problem.user_attributes), problem.items, params["other_weight"])
    weights = item_weights(learned, params["regularisation"])
    seconds = time.perf_counter() - begun
    known = histories(phase, problem.items, params["decay"], params["other_weight"])
    return Answer({"EASE": ranks_of_pairs(phase, lambda part: known[part] @ weights)}, seconds)


EASE = Contestant(
    "EASE",
    _answer,
    {"regularisation": 500.0, "decay": 0.9, "other_weight": 1.0},
    {
        "regularisation": (20.0, 50.0, 100.0, 200.0, 350.0, 500.0, 750.0, 1000.0, 2000.0, 4000.0),
        "decay": (0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0),
        "other_weight": (0.0, 0.25, 0.5, 0.75, 1.0),
    },
)

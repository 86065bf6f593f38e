"""Item-based nearest neighbours."""

import time

import numpy as np
from scipy import sparse

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Phase, Problem, histories, interactions
from tests.benchmarks.quality.ranks import ranks_of_pairs


def weigh(matrix: sparse.csr_matrix, scheme: str) -> sparse.csr_matrix:
    """[users, items] with common items (`tf_idf`) or also busy users (`bm25`) counting less."""
    if scheme == "none":
        return matrix
    users = matrix.shape[0]
    owners = np.bincount(matrix.indices, minlength=matrix.shape[1])
    rarity = np.log((users + 1) / (owners + 1)) + 1
    weighted = matrix.tocoo()
    values = weighted.data * rarity[weighted.col]
    if scheme == "bm25":
        lengths = np.asarray(matrix.sum(axis=1)).ravel()
        k, b = 1.2, 0.75
        length = (1 - b) + b * lengths / max(lengths.mean(), 1e-9)
        values = values * (k + 1) / (k * length[weighted.row] + weighted.data)
    return sparse.csr_matrix((values, (weighted.row, weighted.col)), matrix.shape)


def similarities(matrix: sparse.csr_matrix, neighbours: int, shrinkage: float, asymmetry: float) -> np.ndarray:
    """[items, items] cosine of the columns, the most similar `neighbours` of each kept.

    Args:
        matrix: [users, items].
        neighbours: kept for each item.
        shrinkage: added to the norms: what rests on few users counts less.
        asymmetry: exponent of the history item's norm; the candidate's has the rest. 0.5 is the cosine.
    """
    products = np.asarray((matrix.T @ matrix).todense(), np.float32)
    norms = np.sqrt(products.diagonal())
    scale = np.outer(norms ** (2 * asymmetry), norms ** (2 * (1 - asymmetry))) + shrinkage
    found = products / np.maximum(scale, 1e-9)
    np.fill_diagonal(found, 0.0)
    if neighbours < len(found):
        limit = np.partition(found, -neighbours, axis=0)[-neighbours]
        found[found < limit[None, :]] = 0.0
    return found


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    begun = time.perf_counter()
    users = len(problem.user_attributes)
    learned = weigh(interactions(phase.log, users, problem.items, params["other_weight"]), params["weighting"])
    similar = similarities(learned, params["neighbours"], params["shrinkage"], params["asymmetry"])
    seconds = time.perf_counter() - begun
    known = histories(phase, problem.items, params["decay"], params["other_weight"])
    return Answer({"item-kNN": ranks_of_pairs(phase, lambda part: known[part] @ similar)}, seconds)


ITEM_KNN = Contestant(
    "item-kNN",
    _answer,
    {"neighbours": 100, "shrinkage": 10.0, "asymmetry": 0.5, "weighting": "none", "decay": 0.9, "other_weight": 1.0},
    {
        "neighbours": (20, 50, 100, 200, 400, 2000),
        "shrinkage": (0.0, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0),
        "asymmetry": (0.3, 0.4, 0.5, 0.6, 0.7),
        "weighting": ("none", "tf_idf", "bm25"),
        "decay": (0.7, 0.8, 0.9, 0.95, 0.98, 1.0),
        "other_weight": (0.0, 0.25, 0.5, 1.0),
    },
)

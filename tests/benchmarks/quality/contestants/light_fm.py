"""LightFM: factors of ids and attributes, trained with WARP."""

import time

import numpy as np
from scipy import sparse

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.contestants.fold_in import fold_in
from tests.benchmarks.quality.problem import Phase, Problem, histories, interactions
from tests.benchmarks.quality.ranks import ranks_of_pairs


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    from lightfm import LightFM

    begun = time.perf_counter()
    learned = interactions(phase.log, len(problem.user_attributes), problem.items, params["other_weight"])
    of_users, of_items = (_with_ids(values) for values in (problem.user_attributes, problem.item_attributes))
    model = LightFM(
        no_components=params["factors"],
        loss="warp",
        learning_rate=params["learning_rate"],
        item_alpha=params["item_alpha"],
        user_alpha=params["user_alpha"],
        max_sampled=params["max_sampled"],
        random_state=1,
    )
    model.fit(learned.tocoo(), of_users, of_items, epochs=params["epochs"], num_threads=2)
    seconds = time.perf_counter() - begun
    biases, vectors = model.get_item_representations(of_items)
    users = _user_vectors(problem, phase, params, model, of_users, vectors, biases)
    return Answer({"LightFM": ranks_of_pairs(phase, lambda part: users[part] @ vectors.T + biases)}, seconds)


def _user_vectors(problem, phase, params, model, of_users, vectors, biases) -> np.ndarray:
    """The fold-in of recent histories, from the trained vectors; new users start from what their attributes say."""
    trained = model.get_user_representations(of_users)[1]
    attributes = of_users.copy().tolil()
    attributes.setdiag(0.0)
    unseen = model.get_user_representations(attributes.tocsr())[1]
    start = np.where(np.isin(phase.users, phase.log.users)[:, None], trained[phase.users], unseen[phase.users])
    known = histories(phase, problem.items, params["decay"], params["other_weight"])
    steps, pull = params["fold_in_steps"], params["fold_in_regularisation"]
    return fold_in(known, vectors, biases, start, steps, 0.1, pull, seed=1)


def _with_ids(attributes: np.ndarray) -> sparse.csr_matrix:
    return sparse.hstack([sparse.identity(len(attributes)), attributes], format="csr", dtype=np.float32)


LIGHTFM = Contestant(
    "LightFM",
    _answer,
    {
        "factors": 64,
        "learning_rate": 0.05,
        "item_alpha": 1e-6,
        "user_alpha": 1e-6,
        "max_sampled": 30,
        "epochs": 30,
        "other_weight": 0.0,
        "decay": 0.8,
        "fold_in_steps": 30,
        "fold_in_regularisation": 0.1,
    },
    {
        "factors": (16, 32, 64, 128),
        "learning_rate": (0.01, 0.02, 0.05, 0.1),
        "item_alpha": (0.0, 1e-6, 1e-5, 1e-4),
        "user_alpha": (0.0, 1e-6, 1e-5, 1e-4),
        "max_sampled": (10, 30, 60),
        "epochs": (10, 20, 30, 50, 80),
        "other_weight": (0.0, 1.0),
        "decay": (0.7, 0.8, 0.9, 0.95, 1.0),
        "fold_in_steps": (0, 10, 30, 60),
        "fold_in_regularisation": (0.001, 0.01, 0.1, 0.3),
    },
    environment="peers",
)

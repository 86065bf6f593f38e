"""A vector for a user that a factor model was not trained on, its items left as they are."""

import numpy as np
from scipy import sparse


def fold_in(
    known: sparse.csr_matrix,
    item_vectors: np.ndarray,
    item_biases: np.ndarray,
    start: np.ndarray,
    steps: int,
    learning_rate: float,
    regularisation: float,
    seed: int,
) -> np.ndarray:
    """User vectors that rank what each user had done above items drawn at random: BPR with only the users learning.

    Args:
        known: [n, items] weights of each user's history.
        item_vectors: [items, d].
        item_biases: [items].
        start: [n, d] where each user starts from; one without a history stays there.
        steps: passes over the histories; each draws one negative for every entry.
        learning_rate: of Adagrad.
        regularisation: pulls towards the start.
        seed: of the negatives.

    Returns:
        [n, d] vectors.
    """
    generator = np.random.default_rng(seed)
    rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
    vectors = start.astype(np.float32).copy()
    totals = np.full_like(vectors, 1e-6)
    share = known.data / np.maximum(np.asarray(known.sum(axis=1)).ravel(), 1e-9)[rows]
    for _ in range(steps):
        negatives = generator.integers(0, len(item_vectors), len(rows))
        apart = item_vectors[known.indices] - item_vectors[negatives]
        margin = (vectors[rows] * apart).sum(axis=1) + item_biases[known.indices] - item_biases[negatives]
        pull = share / (1.0 + np.exp(np.clip(margin, -30, 30)))
        by_user = sparse.csr_matrix((pull, np.arange(len(rows)), known.indptr), (known.shape[0], len(rows)))
        gradient = by_user @ apart - regularisation * (vectors - start)
        totals += gradient**2
        vectors += (learning_rate * gradient / np.sqrt(totals)).astype(np.float32)
    return vectors

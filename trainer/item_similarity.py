"""What people who engaged with an item also engaged with: a linear model of items by items, learned in closed form.

Beside towers and ranker, whose vectors say in a few dimensions what an item is like, it remembers which very items go
together. It is no part of the gradient training, and it is never asked about the rows it was learned from: its weight
in the final score is chosen on validation rows.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from scipy import sparse

from feature_repo.spec import AggregateSource, Feature
from trainer.catalogue import Catalogue
from trainer.config import SimilarityConfig
from trainer.embeddings import histories
from trainer.engagements import Engagements
from trainer.inputs import FIRST_KNOWN, Encoded, Preprocessing
from trainer.two_tower import ITEM_KEY

USERS_AT_ONCE = 8192


class ItemSimilarity(tf.Module):
    """Scores candidates by their similarity to what the user engaged with lately.

    Args:
        places: [vocabulary] int32 row of each index of the item vocabulary; the last row for items that have none.
        matrix: [rows + 1, rows + 1] float32, entry (i, j) what an engagement with i says for j; the last row and
            column are zeros.
        history: the feature that lists the user's engagements, newest first.
        decay: factor of each older engagement.
    """

    def __init__(self, places: np.ndarray, matrix: np.ndarray, history: Feature, decay: float) -> None:
        super().__init__()
        self.history = history.name
        self._places = tf.Variable(places, trainable=False, dtype=tf.int32)
        self._matrix = tf.Variable(matrix, trainable=False, dtype=tf.float32)
        self._decay = tf.constant(decay ** np.arange(history.length or 0), tf.float32)

    def score(self, request: Encoded, keys: tf.Tensor) -> tf.Tensor:
        """Similarity [n, k] of the candidates of each of n requests.

        Args:
            request: encoded request features [n, ...].
            keys: [n, k] indices of the candidates' ids.
        """
        entries = request[self.history]
        # Padding and unknown items have the row of zeros.
        rows = tf.gather(self._matrix, tf.gather(self._places, entries))
        summed = tf.einsum("l,nlm->nm", self._decay, rows)
        return tf.gather(summed, tf.gather(self._places, keys), batch_dims=1)


def learn_similarity(
    request_features: tuple[Feature, ...],
    preprocessing: Preprocessing,
    catalogue: Catalogue,
    engagements: Engagements,
    config: SimilarityConfig,
) -> ItemSimilarity | None:
    """Learns how items go together, or None where there is no history of item ids to hold candidates against.

    Args:
        request_features: of the ranker.
        preprocessing: of its inputs.
        catalogue: of m items.
        engagements: of the training rows.
        config: section `ranking.similarity`.

    References:
        Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    """
    found = histories(request_features, ITEM_KEY)
    if not found or ITEM_KEY not in preprocessing.vocabularies or not config.items:
        return None
    indices = preprocessing.encode({ITEM_KEY: catalogue.item_ids})[ITEM_KEY]
    counts = engagements.item_counts(len(catalogue))
    known = np.flatnonzero((indices >= FIRST_KNOWN) & (counts > 0))
    chosen = known[np.argsort(-counts[known], kind="stable")[: config.items]]
    columns = np.full(len(catalogue), -1, np.int64)
    columns[chosen] = np.arange(len(chosen))
    size = len(chosen)
    together = np.zeros((size, size))
    for users, items in engagements.by_user(USERS_AT_ONCE):
        kept = columns[items] >= 0
        shape = (int(users.max(initial=0)) + 1, size)
        part = sparse.csr_matrix((np.ones(int(kept.sum())), (users[kept], columns[items][kept])), shape)
        together += (part.T @ part).toarray()
    places = np.full(preprocessing.sizes[ITEM_KEY], size, np.int32)
    places[indices[chosen]] = np.arange(size)
    return ItemSimilarity(places, _solve(together, config.regularisation), max(found, key=_breadth), config.decay)


def _solve(together: np.ndarray, regularisation: float) -> np.ndarray:
    """[rows + 1, rows + 1] of the weights with which each item is told by the others; the last of zeros."""
    size = len(together)
    weights = np.zeros((size + 1, size + 1), np.float32)
    if size:
        inverse = np.linalg.inv(together + regularisation * np.eye(size))
        weights[:size, :size] = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
    return weights


def _breadth(feature: Feature) -> tuple[bool, Any]:
    """Orders histories: those of all engagements before those of some, then the longer."""
    every = isinstance(feature.source, AggregateSource) and feature.source.of == "any"
    return every, feature.length

"""Scoring with exported models, outside of a model server."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.spec import REQUEST_TIMESTAMP, RETRIEVAL_SCORE

SIGNATURE = "serving_default"
ROWS_AT_ONCE = 8192


class ExportedModel:
    """A SavedModel as a function of arrays.

    Args:
        folder: of the SavedModel.
    """

    def __init__(self, folder: str | Path) -> None:
        self.model = tf.saved_model.load(str(folder))
        self._function = self.model.signatures[SIGNATURE]
        self.inputs: dict[str, tf.TensorSpec] = self._function.structured_input_signature[1]

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, given at least the inputs of the signature."""
        tensors = {name: tf.constant(arrays[name], spec.dtype) for name, spec in self.inputs.items()}
        return {name: value.numpy() for name, value in self._function(**tensors).items()}


class Towers:
    """The exported towers of one retrieval model."""

    def __init__(self, user_tower: str | Path, item_tower: str | Path) -> None:
        self._user, self._item = ExportedModel(user_tower), ExportedModel(item_tower)

    def embed_queries(self, arrays: Arrays, seconds: np.ndarray) -> np.ndarray:
        """Query embeddings [n, dimension], given user and context features [n] and unix seconds [n]."""
        return _in_parts(self._user, {**arrays, REQUEST_TIMESTAMP: seconds})

    def embed_items(self, arrays: Arrays) -> np.ndarray:
        """Item embeddings [m, dimension], given item features [m]."""
        return _in_parts(self._item, arrays)


class ExportedRanker:
    """An exported ranker."""

    def __init__(self, folder: str | Path) -> None:
        self._model = ExportedModel(folder)

    @property
    def inputs(self) -> frozenset[str]:
        """Names of its inputs."""
        return frozenset(self._model.inputs)

    def score(self, request: Arrays, seconds: int, items: Arrays, retrieval_score: np.ndarray) -> dict[str, np.ndarray]:
        """`score` and `probability` [k] of the candidates of one request, by the signature that is served.

        Args:
            request: user and context features [1].
            seconds: unix seconds of the request.
            items: features of the candidates [k].
            retrieval_score: [k].
        """
        rest = {REQUEST_TIMESTAMP: np.array([seconds], np.int64), RETRIEVAL_SCORE: retrieval_score}
        return self._model({**request, **items, **rest})

    def score_many(
        self, requests: Arrays, seconds: np.ndarray, items: Arrays, candidates: np.ndarray, retrieval_score: np.ndarray
    ) -> dict[str, np.ndarray]:
        """`score` and `probability` [n, k] of k candidates of each of n requests: as `score` gives, much sooner.

        Args:
            requests: user and context features [n].
            seconds: [n] unix seconds.
            items: features of m items, read once.
            candidates: [n, k] places among those items.
            retrieval_score: [n, k].
        """
        signature = self._model.inputs
        scored = self._model.model.score_many(
            {name: tf.constant(requests[name], spec.dtype) for name, spec in signature.items() if name in requests},
            tf.constant(seconds, tf.int64),
            {name: tf.constant(items[name], spec.dtype) for name, spec in signature.items() if name in items},
            tf.constant(candidates, tf.int32),
            tf.constant(np.maximum(retrieval_score, np.finfo(np.float32).min), tf.float32),
        )
        return {name: value.numpy() for name, value in scored.items()}


def _in_parts(tower: ExportedModel, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Embeddings of any number of rows, with the memory of `ROWS_AT_ONCE`."""
    rows = len(next(iter(arrays.values())))
    parts = [
        tower({name: values[start : start + ROWS_AT_ONCE] for name, values in arrays.items()})["embedding"]
        for start in range(0, max(rows, 1), ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)

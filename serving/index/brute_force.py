"""Scores every item with numpy: exact, and the yardstick of the others."""

from pathlib import Path

import numpy as np

from serving.index.base import Index, IndexDescription, check_vectors

_FILE = "vectors.npy"


class BruteForceIndex(Index):
    """All embeddings in one matrix."""

    kind = "brute_force"

    def __init__(self, vectors: np.ndarray):
        """Takes [n, D] float32 embeddings; row i is item i."""
        self._vectors = check_vectors(vectors)

    @property
    def size(self) -> int:
        """How many items it holds."""
        return len(self._vectors)

    @property
    def dimension(self) -> int:
        """Of the embeddings."""
        return self._vectors.shape[1]

    def _write(self, path: Path) -> None:
        np.save(path / _FILE, self._vectors, allow_pickle=False)

    @classmethod
    def load(cls, path: Path, description: IndexDescription) -> "BruteForceIndex":
        """Reads the matrix."""
        return cls(np.load(path / _FILE, allow_pickle=False))

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self._vectors.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return rows, np.take_along_axis(scores, rows, 1)

"""Scores every item with numpy: exact, and the yardstick of the others."""

from pathlib import Path

import numpy as np

from serving.index.base import Index, IndexDescription, load_vectors


class BruteForceIndex(Index):
    """All embeddings in one matrix."""

    kind = "brute_force"

    @classmethod
    def load(cls, path: Path, description: IndexDescription) -> "BruteForceIndex":
        """Reads the matrix."""
        return cls(load_vectors(path))

    def _write(self, path: Path) -> None:
        """The embeddings are all there is."""

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self._vectors.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return rows, np.take_along_axis(scores, rows, 1)

"""The interface of every index, and what they have in common: excluding rows and filling up."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from feature_repo.model import StrictModel
from serving.json_files import write_json

DESCRIPTION = "index.json"
VECTORS = "vectors.npy"

NO_ROW = -1
"""Row of a place that an approximate search could not fill; its score is -inf."""


class IndexDescription(StrictModel):
    """`index.json`: what kind of index lies beside it."""

    kind: str
    size: int
    dimension: int
    leaves: int = 0


class Index(ABC):
    """Rows of item embeddings, searched by inner product. Safe to search from several threads."""

    kind: str
    """What the factory knows it by."""

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

    def score(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Inner products [n] float32 of one query [D] with the items of some rows [n]."""
        return self._vectors[rows] @ np.asarray(query, np.float32)

    @property
    def leaves(self) -> int:
        """Of a partitioning tree; 0 where every item is scored."""
        return 0

    def save(self, path: Path) -> None:
        """Writes the index into the folder `path`; `load_index` reads it, also from elsewhere."""
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / VECTORS, self._vectors, allow_pickle=False)
        self._write(path)
        description = IndexDescription(kind=self.kind, size=self.size, dimension=self.dimension, leaves=self.leaves)
        write_json(path / DESCRIPTION, description.model_dump(mode="json"))

    @classmethod
    @abstractmethod
    def load(cls, path: Path, description: IndexDescription) -> "Index":
        """Reads what `save` wrote, without building anything again."""

    @abstractmethod
    def _write(self, path: Path) -> None:
        """Writes what there is beside the embeddings and the description."""

    @abstractmethod
    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores [B, count] with count <= size, best first, `NO_ROW` and -inf where none was found."""

    def search(
        self, queries: np.ndarray, k: int, exclude: Iterable[int] | np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest items of each query.

        Args:
            queries: [B, D] float32.
            k: how many items are wanted, >= 1.
            exclude: rows that must not be found; rows that the index does not hold are ignored.

        Returns:
            Rows [B, n] int64 and their inner products [B, n] float32, best first, where n is k, or all items that
            are not excluded when those are fewer.

        Raises:
            ValueError: when the queries have another dimension, or k < 1.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"`queries` should be [B, {self.dimension}]. Received: shape={queries.shape}")
        if k < 1:
            raise ValueError(f"`k` must be >= 1. Received: k={k}.")
        banned = np.unique(np.asarray([] if exclude is None else list(exclude), np.int64))
        banned = banned[(banned >= 0) & (banned < self.size)]
        wanted = min(k, self.size - len(banned))
        if wanted == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        rows, scores = self._nearest(queries, wanted + len(banned))
        if len(banned):
            forbidden = np.zeros(self.size + 1, bool)
            forbidden[banned] = True
            out = forbidden[rows]
            # A stable sort moves what is out behind what stays and keeps the order among those.
            places = np.argsort(out, axis=1, kind="stable")[:, :wanted]
            rows, scores = np.take_along_axis(rows, places, 1), np.take_along_axis(scores, places, 1)
            late = np.take_along_axis(out, places, 1)
            rows, scores = np.where(late, NO_ROW, rows), np.where(late, np.float32(-np.inf), scores)
        return rows, scores


def load_vectors(path: Path) -> np.ndarray:
    """The embeddings of the index in a folder, [n, D] float32."""
    return np.load(path / VECTORS, allow_pickle=False)


def check_vectors(vectors: np.ndarray) -> np.ndarray:
    """[n, D] float32, contiguous.

    Raises:
        ValueError: when the vectors are none, of another shape or not finite.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise ValueError(f"`vectors` should be [n, D] with n, D >= 1. Received: shape={vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"`vectors` must be finite. Received: row {np.argwhere(~np.isfinite(vectors))[0, 0]} is not")
    return vectors

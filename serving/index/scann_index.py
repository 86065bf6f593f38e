"""ScaNN: scores every item of a small catalogue, partitions and quantises a large one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from serving.index.base import NO_ROW, Index, IndexDescription, check_vectors, load_vectors

_ASSETS = "scann_assets.pbtxt"
_MOST_SAMPLES = 250_000
_SHARE_OF_LEAVES = 0.2
_LEAST_RESCORED = 200
_MARGIN = 10.0
"""Leaves that are searched hold at least this many times the wanted items."""


class ScannIndex(Index):
    """A ScaNN searcher."""

    kind = "scann"

    def __init__(self, searcher: Any, vectors: np.ndarray, leaves: int):
        """Takes ScaNN's own searcher; `leaves` of its tree, 0 where it has none. `build` makes one."""
        super().__init__(vectors)
        self._searcher = searcher
        self._leaves = leaves

    @classmethod
    def build(cls, vectors: np.ndarray, tree_above: int) -> "ScannIndex":
        """Builds a searcher.

        Args:
            vectors: [n, D] float32 embeddings; row i is item i.
            tree_above: smallest n for which a partitioning tree with asymmetric hashing is built and the best
                are re-scored exactly; below it every item is scored exactly.
        """
        vectors = check_vectors(vectors)
        size = len(vectors)
        builder = _scann().builder(vectors, min(100, size), "dot_product")
        if size < tree_above:
            return cls(builder.score_brute_force().build(), vectors, leaves=0)
        leaves = max(2, round(math.sqrt(size)))
        searcher = (
            builder.tree(
                num_leaves=leaves,
                num_leaves_to_search=max(1, round(leaves * _SHARE_OF_LEAVES)),
                training_sample_size=min(size, _MOST_SAMPLES),
            )
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(min(size, _LEAST_RESCORED))
            .build()
        )
        return cls(searcher, vectors, leaves)

    @property
    def leaves(self) -> int:
        """Of the partitioning tree; 0 where every item is scored."""
        return self._leaves

    @classmethod
    def load(cls, path: Path, description: IndexDescription) -> "ScannIndex":
        """Reads ScaNN's serialisation; nothing is trained or quantised again."""
        scann = _scann()
        # ScaNN ends the process when a path in its list of assets is not there, so they are looked for first.
        assets = _with_paths(path / _ASSETS, lambda name: str((path / name).resolve(strict=True)))
        searcher = scann.ScannSearcher(scann.scann_pybind.ScannNumpy(str(path), assets))
        return cls(searcher, load_vectors(path), description.leaves)

    def _write(self, path: Path) -> None:
        self._searcher.serialize(str(path))
        # ScaNN writes absolute paths; names alone survive a move and give the same digest wherever it is built.
        (path / _ASSETS).write_text(_with_paths(path / _ASSETS, lambda name: Path(name).name), encoding="utf-8")

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows, scores = self._ask(queries, count, self._leaves_for(count))
        if self._leaves and (rows == NO_ROW).any():
            rows, scores = self._ask(queries, count, self._leaves)
        return rows, scores

    def _leaves_for(self, count: int) -> int:
        return min(self._leaves, max(1, math.ceil(self._leaves * max(_SHARE_OF_LEAVES, _MARGIN * count / self.size))))

    def _ask(self, queries: np.ndarray, count: int, leaves: int) -> tuple[np.ndarray, np.ndarray]:
        if self._leaves:
            reorder = min(self.size, max(_LEAST_RESCORED, count * 2))
            found, scores = self._searcher.search_batched(queries, count, reorder, leaves)
        else:
            found, scores = self._searcher.search_batched(queries, count)
        # ScaNN fills places that it found nothing for with row 0 and a NaN.
        empty = np.isnan(scores)
        return np.where(empty, NO_ROW, found.astype(np.int64)), np.where(empty, np.float32(-np.inf), scores)


def _with_paths(assets: Path, rewrite: Callable[[str], str]) -> str:
    """ScaNN's list of assets with every path rewritten."""
    from scann.scann_ops import scann_assets_pb2

    listed = text_format.Parse(assets.read_text(encoding="utf-8"), scann_assets_pb2.ScannAssets())
    for asset in listed.assets:
        asset.asset_path = rewrite(asset.asset_path)
    return text_format.MessageToString(listed)


def _scann() -> Any:
    # Loads TensorFlow, whose libraries ScaNN is linked with.
    from scann.scann_ops.py import scann_ops_pybind

    return scann_ops_pybind

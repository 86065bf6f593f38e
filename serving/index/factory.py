"""Which index a config or a folder means."""

from pathlib import Path

import numpy as np

from feature_repo.errors import ReleaseError
from serving.config import IndexConfig
from serving.index.base import DESCRIPTION, Index, IndexDescription
from serving.index.brute_force import BruteForceIndex
from serving.index.scann_index import ScannIndex
from serving.json_files import read_json

_KINDS: dict[str, type[Index]] = {kind.kind: kind for kind in (BruteForceIndex, ScannIndex)}
_REMEDY = "Run the step build_index again, or serve another release."


def build_index(vectors: np.ndarray, config: IndexConfig) -> Index:
    """An index of [n, D] float32 item embeddings; row i is item i."""
    if config.kind == "brute_force":
        return BruteForceIndex(vectors)
    return ScannIndex.build(vectors, config.tree_above)


def load_index(path: Path) -> Index:
    """The index that lies in a folder.

    Raises:
        ReleaseError: when there is none that can be read.
    """
    description = read_json(path / DESCRIPTION, IndexDescription, _REMEDY)
    kind = _KINDS.get(description.kind)
    if kind is None:
        raise ReleaseError(f"{path}: kind must be one of {', '.join(_KINDS)}. Received: {description.kind}. {_REMEDY}")
    try:
        index = kind.load(path, description)
    except (OSError, ValueError) as error:
        raise ReleaseError(f"the index in {path} cannot be read ({' '.join(str(error).split())}). {_REMEDY}") from error
    if (index.size, index.dimension) != (description.size, description.dimension):
        raise ReleaseError(f"the index in {path} is not of the size that {DESCRIPTION} gives. {_REMEDY}")
    return index

"""Finding candidates: the items whose embeddings lie nearest to the user's."""

from serving.index.base import Index
from serving.index.factory import build_index, load_index

__all__ = ["Index", "build_index", "load_index"]

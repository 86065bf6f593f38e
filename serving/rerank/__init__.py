"""What happens to the ranker's order before it is shown."""

from serving.rerank.policy import Reranked, rerank

__all__ = ["Reranked", "rerank"]

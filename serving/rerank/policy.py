"""The re-rank policy as pure functions over rows of the item table."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from serving.config import RerankConfig

SEEN = "seen"
"""Reason of an item that the user has engaged with before."""


@dataclass(frozen=True)
class Reranked:
    """What is shown, and what was left out on the way there.

    Attributes:
        kept: places in the ranked order, best first, int64.
        removed: place and reason of every item that would have been shown but for the policy.
    """

    kept: np.ndarray
    removed: tuple[tuple[int, str], ...]


def rerank(
    rows: np.ndarray, count: int, policy: RerankConfig, seen: Collection[int], values: Sequence[Sequence[str]] | None
) -> Reranked:
    """Takes the best items that the policy allows.

    Args:
        rows: [N] rows of the item table, best first.
        count: how many items are wanted; fewer are kept where the policy allows no more.
        policy: of the release.
        seen: rows that are left out because the user has engaged with them; none where the policy leaves none out.
        values: for every row of the item table its values of the attribute `policy.max_share_by`; None where the
            policy names none.

    Returns:
        At most `count` places in `rows`, in their order.
    """
    limit = share_limit(count, policy.max_share)
    shown: Counter[str] = Counter()
    kept: list[int] = []
    removed: list[tuple[int, str]] = []
    for place, row in enumerate(rows.tolist()):
        if len(kept) == count:
            break
        if row in seen:
            removed.append((place, SEEN))
            continue
        of_item = set(values[row]) if values is not None and policy.max_share_by else set()
        full = sorted(value for value in of_item if shown[value] >= limit)
        if full:
            removed.append((place, f"max_share {policy.max_share_by}={full[0]}"))
            continue
        shown.update(of_item)
        kept.append(place)
    return Reranked(np.array(kept, np.int64), tuple(removed))


def share_limit(count: int, max_share: float) -> int:
    """Most of `count` items that one value may take: at least one, or nothing could be shown."""
    # 0.3 * 10 is 2.9999999999999996 in binary: an exact share must not lose an item to that.
    return max(1, math.floor(count * max_share + 1e-9))

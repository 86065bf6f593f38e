"""What answers are like beyond their accuracy: how much of the catalogue they show, how evenly, how new, how varied.

Lists are [n, k] int catalogue rows, best first; -1 where a list is shorter.
"""

import numpy as np

_ELEMENTS_AT_ONCE = 4_000_000


def catalogue_coverage(exposure: np.ndarray) -> np.ndarray:
    """Share of the items that were shown at all.

    Args:
        exposure: [..., items] how often each item of the catalogue was shown.
    """
    return (np.asarray(exposure) > 0).mean(axis=-1)


def gini(exposure: np.ndarray) -> np.ndarray:
    """Gini coefficient of exposure over the whole catalogue: 0 all items alike, near 1 all on one item; nan for none.

    Args:
        exposure: [..., items] how often each item of the catalogue was shown.
    """
    ordered = np.sort(np.asarray(exposure, np.float64), axis=-1)
    items = ordered.shape[-1]
    total = ordered.sum(axis=-1)
    weighted = ordered @ (2.0 * np.arange(1, items + 1) - items - 1)
    return np.where(total > 0, weighted / np.where(total > 0, total * items, 1.0), np.nan)


def self_information(counts: np.ndarray, totals: np.ndarray, items: int) -> np.ndarray:
    """Bits that it tells to see an item: -log2 of its share of past events, one event added to every item.

    Args:
        counts: past events of the item, of any shape.
        totals: past events of all items, broadcast against `counts`.
        items: size of the catalogue.

    References:
        Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010.
    """
    return np.log2((np.asarray(totals) + items) / (np.asarray(counts) + 1.0))


def mean_of_list(values: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """[n] mean of the values [n, k] of each list's items; nan for an empty list."""
    there = lists >= 0
    count = there.sum(axis=1)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def intra_list_diversity(lists: np.ndarray, vectors: np.ndarray, distance: str = "jaccard") -> np.ndarray:
    """[n] mean distance of the pairs of a list's items, in [0, 1] for sets; nan for lists of fewer than two items.

    Args:
        lists: [n, k] catalogue rows.
        vectors: [items, d]: 0 or 1 for `jaccard` (which values of an attribute an item has), any for `cosine`.
        distance: `jaccard`, 1 - |both| / |either|, two items without values being alike; or `cosine`, 1 - cosine.

    References:
        Ziegler et al., "Improving Recommendation Lists Through Topic Diversification", WWW 2005.
    """
    if distance not in ("jaccard", "cosine"):
        raise ValueError(f"`distance` must be jaccard or cosine. Received: {distance}")
    vectors = np.asarray(vectors, np.float32)
    if distance == "cosine":
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(norms > 0, norms, 1.0)
    k = lists.shape[1]
    above = np.triu(np.ones((k, k), bool), 1)
    found = np.full(len(lists), np.nan)
    step = max(1, _ELEMENTS_AT_ONCE // max(1, k * max(k, vectors.shape[1])))
    for start in range(0, len(lists), step):
        some = lists[start : start + step]
        of_items = vectors[np.maximum(some, 0)]
        shared = of_items @ of_items.transpose(0, 2, 1)
        if distance == "jaccard":
            sizes = of_items.sum(axis=2)
            either = sizes[:, :, None] + sizes[:, None, :] - shared
            likeness = np.where(either > 0, shared / np.where(either > 0, either, 1.0), 1.0)
        else:
            likeness = shared
        pairs = above & (some >= 0)[:, :, None] & (some >= 0)[:, None, :]
        count = pairs.sum(axis=(1, 2))
        sums = np.where(pairs, 1.0 - likeness, 0.0).sum(axis=(1, 2))
        found[start : start + step] = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return found

"""Items that a user might have been shown and was not."""

import numpy as np

from trainer.engagements import Engagements


def sample_negatives(
    user_ids: np.ndarray,
    instants: np.ndarray,
    item_counts: np.ndarray,
    engagements: Engagements,
    per_row: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws items of the catalogue for each row.

    Half of the draws are uniform, as most of what a ranker is handed is obscure; half go by the square root of
    popularity, as those decide the top of the list.

    Args:
        user_ids: [n].
        instants: [n] int64 unix microseconds.
        item_counts: [m] training rows of each item of the catalogue.
        engagements: of the users; what a user had engaged with by the instant is no negative.
        per_row: draws for each row.
        generator: of the draws.

    Returns:
        codes [n, per_row] of items, and [n, per_row] bool: False for a draw that may not be used.
    """
    shape = (len(user_ids), per_row)
    size = len(item_counts)
    share = np.sqrt(item_counts + 1.0)
    popular = np.searchsorted(np.cumsum(share / share.sum()), generator.random(shape))
    codes = np.where(generator.random(shape) < 0.5, generator.integers(0, size, shape), np.minimum(popular, size - 1))
    return codes, ~engagements.includes(user_ids, codes, instants)

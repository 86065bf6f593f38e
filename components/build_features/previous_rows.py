"""Which row came before which, for the same user or item."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PreviousRows:
    """The instants of every entity (a user, or an item) that follow an earlier one.

    Rows of one entity at one instant were read together: their features of that entity are the same.

    Attributes:
        rows: [g] a row of each such instant, ascending.
        previous: [g] a row of the same entity at the instant before.
        labels: [g] 1 where any row of the instant is positive.
        of_row: [n] for every row a row of its entity's previous instant; -1 where there is none.
    """

    rows: np.ndarray
    previous: np.ndarray
    labels: np.ndarray
    of_row: np.ndarray


def find_previous(entities: np.ndarray, instants: np.ndarray, labels: np.ndarray) -> PreviousRows:
    """Pairs every instant of an entity with the one before.

    Args:
        entities: [n] int codes.
        instants: [n] int64.
        labels: [n] 0 or 1.
    """
    order = np.lexsort((np.arange(len(entities)), instants, entities))
    new_entity = np.diff(entities[order], prepend=-1) != 0
    starts = np.flatnonzero(new_entity | (np.diff(instants[order], prepend=-1) != 0))
    group = np.zeros(len(order), np.int64)
    group[starts[1:]] = 1
    group = np.cumsum(group)
    first = order[starts]
    before = np.where(new_entity[starts], -1, np.roll(first, 1))
    any_positive = np.maximum.reduceat(labels[order], starts) if len(starts) else labels[:0]
    of_row = np.empty(len(order), np.int64)
    of_row[order] = before[group]

    followers = np.flatnonzero(before >= 0)
    followers = followers[np.argsort(first[followers], kind="stable")]
    return PreviousRows(first[followers], before[followers], any_positive[followers], of_row)

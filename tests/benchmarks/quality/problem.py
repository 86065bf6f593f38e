"""What every contestant is given: interactions to learn from and queries to answer, as arrays in one file.

Nothing but NumPy and SciPy, so that a contestant can run in an environment of its own.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Log:
    """Interactions, ordered by time.

    Attributes:
        users, items: [e] int64 codes.
        times: [e] int64 unix microseconds.
        positives: [e] bool.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    positives: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "Log":
        """The interactions at some places (indices or a mask)."""
        return Log(self.users[rows], self.items[rows], self.times[rows], self.positives[rows])


@dataclass(frozen=True)
class Phase:
    """One round: learn from `log`, then answer the queries.

    A moment is a user at an instant, with a history; every query belongs to one moment and asks for one or more items.
    The corpus of a moment is the catalogue without the items of its history.

    Attributes:
        log: what models learn from.
        visible: what may be known at a moment, if it is old enough; the same as `log` where time does not split.
        users: [m] user code of each moment.
        times: [m] int64 unix microseconds.
        history_starts: [m + 1] where each moment's history starts in `history_rows`.
        history_rows: places in `visible`, the oldest first.
        pair_moments, pair_items, pair_queries: [p] the items asked for: whose moment, which item, of which query.
    """

    log: Log
    visible: Log
    users: np.ndarray
    times: np.ndarray
    history_starts: np.ndarray
    history_rows: np.ndarray
    pair_moments: np.ndarray
    pair_items: np.ndarray
    pair_queries: np.ndarray

    @cached_property
    def history_moments(self) -> np.ndarray:
        """[h] the moment of each entry of `history_rows`."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.history_starts))

    @cached_property
    def history_items(self) -> np.ndarray:
        """[h] the item of each entry of `history_rows`."""
        return self.visible.items[self.history_rows]

    @property
    def moves_on(self) -> bool:
        """Whether more may be known at a moment than what was learned from."""
        return len(self.visible) != len(self.log)

    @property
    def query_users(self) -> np.ndarray:
        """[q] the user of each query."""
        _, first = np.unique(self.pair_queries, return_index=True)
        return self.users[self.pair_moments[first]]


@dataclass(frozen=True)
class Problem:
    """A protocol's two rounds.

    Attributes:
        validation: hyperparameters are tuned on it.
        test: what is reported.
        item_attributes, user_attributes: one row an item or user, 0 or 1 for each value of an attribute.
        folder: where it was read from; the product's tables lie beside it.
    """

    validation: Phase
    test: Phase
    item_attributes: np.ndarray
    user_attributes: np.ndarray
    folder: Path = Path()

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self.item_attributes)


def interactions(log: Log, users: int, items: int, other_weight: float) -> sparse.csr_matrix:
    """[users, items] float32: 1 for a positive, `other_weight` for any other interaction."""
    weights = np.where(log.positives, 1.0, other_weight).astype(np.float32)
    kept = weights > 0
    matrix = sparse.csr_matrix((weights[kept], (log.users[kept], log.items[kept])), (users, items))
    matrix.data = np.minimum(matrix.data, 1.0)
    return matrix


def histories(phase: Phase, items: int, decay: float, other_weight: float) -> sparse.csr_matrix:
    """[moments, items] float32 weights of what each moment's user had done.

    Args:
        phase: the round.
        items: size of the catalogue.
        decay: factor for each newer entry of the history; 1 weighs old and new alike.
        other_weight: of what was no positive; entries of weight 0 do not age the others.
    """
    weights = np.where(phase.visible.positives[phase.history_rows], 1.0, other_weight)
    counted = np.cumsum(weights > 0)
    ends = phase.history_starts[1:]
    total = np.concatenate([[0], counted])[ends]
    newer = total[phase.history_moments] - counted
    values = (weights * decay ** np.maximum(newer, 0)).astype(np.float32)
    kept = weights > 0
    shape = (len(phase.users), items)
    return sparse.csr_matrix((values[kept], (phase.history_moments[kept], phase.history_items[kept])), shape)


def save_problem(problem: Problem, path: Path) -> None:
    """Writes one `.npz`."""
    arrays = {"item_attributes": problem.item_attributes, "user_attributes": problem.user_attributes}
    for name in ("validation", "test"):
        phase = getattr(problem, name)
        for field in fields(Phase):
            value = getattr(phase, field.name)
            if isinstance(value, Log):
                arrays |= {f"{name}.{field.name}.{one.name}": getattr(value, one.name) for one in fields(Log)}
            else:
                arrays[f"{name}.{field.name}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def load_problem(path: Path) -> Problem:
    """Reads what `save_problem` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)

    def phase(name: str) -> Phase:
        values = {}
        for field in fields(Phase):
            key = f"{name}.{field.name}"
            values[field.name] = (
                Log(*(arrays[f"{key}.{one.name}"] for one in fields(Log)))
                if field.type in (Log, "Log")
                else arrays[key]
            )
        return Phase(**values)

    return Problem(
        phase("validation"), phase("test"), arrays["item_attributes"], arrays["user_attributes"], path.parent
    )

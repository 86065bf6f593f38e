"""The test window as production would meet it: who came when, having done what, and what they then engaged with."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.examples import microseconds

_NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True)
class Moments:
    """Every (user, instant) of the test window, ordered by time.

    Attributes:
        rows: [m] table with the request's features as of the instant, one row a moment.
        users: [m] user ids.
        timestamps: [m] int64 microseconds.
        seen: for each moment the catalogue rows that the user engaged with strictly before it, ascending.
        past_positives: [m] how many positive events the user had strictly before it.
        impressions: for each moment the catalogue rows shown at it.
        labels: for each moment the labels of those impressions.
        repeat: whether items are consumed again and again. Then what a user had stays in the corpus and is asked for;
            otherwise it is neither a candidate nor a query.
    """

    rows: pa.Table
    users: np.ndarray
    timestamps: np.ndarray
    seen: list[np.ndarray]
    past_positives: np.ndarray
    impressions: list[np.ndarray]
    labels: list[np.ndarray]
    repeat: bool = False

    @cached_property
    def excluded(self) -> list[np.ndarray]:
        """For each moment the catalogue rows that are left out of its corpus."""
        return [_NOTHING] * len(self.seen) if self.repeat else self.seen

    def queries(self) -> tuple[np.ndarray, np.ndarray]:
        """The positives whose item is in the corpus: ([n] moment, [n] catalogue row), ordered by moment."""
        moments, items = self.shown()
        asked = np.concatenate([np.empty(0), *self.labels]) > 0
        if not self.repeat:
            asked &= ~self.had(moments, items)
        return moments[asked], items[asked]

    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """Every impression: ([r] moment, [r] catalogue row), ordered by moment."""
        counts = [len(items) for items in self.impressions]
        return np.repeat(np.arange(len(counts)), counts), np.concatenate([_NOTHING, *self.impressions])

    def had(self, moments: np.ndarray, items: np.ndarray) -> np.ndarray:
        """[n] bool: whether the user of each moment had engaged with the item before it."""
        counts = [len(items) for items in self.seen]
        owned = np.concatenate([_NOTHING, *self.seen])
        width = 1 + max(owned.max(initial=0), np.max(items, initial=0))
        # In ascending order: moments follow each other and what was seen at one is sorted.
        keys = np.repeat(np.arange(len(counts)), counts) * width + owned
        asked = moments * width + items
        places = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
        return keys[places] == asked if len(keys) else np.zeros(len(asked), bool)


@dataclass(frozen=True)
class PastEvents:
    """All events, ordered by time.

    Attributes:
        timestamps: [e] int64 microseconds.
        items: [e] catalogue rows.
        users: [e] user ids.
        positive: [e] bool.
    """

    timestamps: np.ndarray
    items: np.ndarray
    users: np.ndarray
    positive: np.ndarray

    def count_before(self, instants: np.ndarray) -> np.ndarray:
        """[n] events of any item strictly before each instant, int64 microseconds."""
        return np.searchsorted(self.timestamps, instants, side="left")

    def count_of_items_before(self, items: np.ndarray, instants: np.ndarray) -> np.ndarray:
        """[n] events of each item strictly before each instant."""
        keys, width = self._by_item
        until = np.searchsorted(keys, items * width + self.count_before(instants), side="left")
        return until - np.searchsorted(keys, items * width, side="left")

    def first_of_items(self, items: int) -> np.ndarray:
        """[items] int64 microseconds of each item's first event; the largest int64 for an item without events."""
        first = np.full(items, np.iinfo(np.int64).max)
        np.minimum.at(first, self.items, self.timestamps)
        return first

    @cached_property
    def _by_item(self) -> tuple[np.ndarray, int]:
        """Keys of the events, ordered by item and place in time, and how far the items' keys lie apart."""
        width = len(self.items) + 1
        return np.sort(self.items * width + np.arange(len(self.items))), width


def read_events(events: pa.Table, catalogue: pa.Array) -> PastEvents:
    """Events of the items in the catalogue, a sorted array of item ids."""
    rows = pc.index_in(events.column("item_id"), catalogue)
    kept = events.filter(pc.is_valid(rows))
    timestamps = microseconds(kept.column("timestamp"))
    order = np.argsort(timestamps, kind="stable")
    return PastEvents(
        timestamps=timestamps[order],
        items=rows.drop_null().to_numpy()[order].astype(np.int64),
        users=kept.column("user_id").to_numpy()[order],
        positive=kept.column("positive").to_numpy()[order],
    )


def find_moments(impressions: pa.Table, events: PastEvents, catalogue: pa.Array, repeat: bool = False) -> Moments:
    """Groups test impressions by user and instant.

    Args:
        impressions: the test examples: user_id, item_id, timestamp, label and the features as of the timestamp.
        events: all events, those of the test window too: each moment sees what came before it.
        catalogue: [items] sorted item ids.
        repeat: whether items are consumed again and again (`FeatureSpec.repeats`).
    """
    timestamps = microseconds(impressions.column("timestamp"))
    users = impressions.column("user_id").to_numpy()
    items = pc.index_in(impressions.column("item_id"), catalogue).to_numpy()
    labels = impressions.column("label").to_numpy()

    order = np.lexsort((np.arange(len(users)), users, timestamps))
    starts = np.ones(len(order), bool)
    starts[1:] = (users[order][1:] != users[order][:-1]) | (timestamps[order][1:] != timestamps[order][:-1])
    first = order[starts]
    groups = np.split(order, np.flatnonzero(starts)[1:])

    by_user = _rows_by_user(events.users)
    seen, past_positives = [], np.zeros(len(first), np.int64)
    for place, row in enumerate(first):
        rows = by_user.get(users[row], _NOTHING)
        rows = rows[: np.searchsorted(events.timestamps[rows], timestamps[row], side="left")]
        seen.append(np.unique(events.items[rows]))
        past_positives[place] = int(events.positive[rows].sum())
    return Moments(
        rows=impressions.take(pa.array(first)),
        users=users[first],
        timestamps=timestamps[first],
        seen=seen,
        past_positives=past_positives,
        impressions=[items[group] for group in groups],
        labels=[labels[group] for group in groups],
        repeat=repeat,
    )


def _rows_by_user(users: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of each user, in time order."""
    order = np.argsort(users, kind="stable")
    values, starts = np.unique(users[order], return_index=True)
    return dict(zip(values, np.split(order, starts[1:]), strict=True))

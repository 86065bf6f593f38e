"""The test window as production would meet it: who came when, having done what, and what they then engaged with."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Moments:
    """Every (user, instant) of the test window, ordered by time.

    Attributes:
        rows: [m] table with the request's features as of the instant, one row a moment.
        users: [m] user ids.
        timestamps: [m] int64 microseconds.
        seen: for each moment the catalogue rows that the user engaged with strictly before it.
        past_positives: [m] how many positive events the user had strictly before it.
        impressions: for each moment the catalogue rows shown at it.
        labels: for each moment the labels of those impressions.
    """

    rows: pa.Table
    users: np.ndarray
    timestamps: np.ndarray
    seen: list[np.ndarray]
    past_positives: np.ndarray
    impressions: list[np.ndarray]
    labels: list[np.ndarray]

    def queries(self) -> tuple[np.ndarray, np.ndarray]:
        """The positives: ([n] moment, [n] catalogue row). An item the user already had is no query."""
        moments, targets = [], []
        for moment, (items, labels) in enumerate(zip(self.impressions, self.labels, strict=True)):
            for item in items[labels > 0]:
                if item not in self.seen[moment]:
                    moments.append(moment)
                    targets.append(int(item))
        return np.array(moments, np.int64), np.array(targets, np.int64)


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


def find_moments(impressions: pa.Table, events: PastEvents, catalogue: pa.Array) -> Moments:
    """Groups test impressions by user and instant.

    Args:
        impressions: the test examples: user_id, item_id, timestamp, label and the features as of the timestamp.
        events: all events, those of the test window too: each moment sees what came before it.
        catalogue: [items] sorted item ids.
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
    nothing = np.array([], np.int64)
    seen, past_positives = [], np.zeros(len(first), np.int64)
    for place, row in enumerate(first):
        rows = by_user.get(users[row], nothing)
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
    )


def microseconds(timestamps: pa.ChunkedArray) -> np.ndarray:
    """[n] int64 microseconds since the epoch."""
    return pc.cast(pc.cast(timestamps, pa.timestamp("us", tz="UTC")), pa.int64()).to_numpy()


def _rows_by_user(users: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of each user, in time order."""
    order = np.argsort(users, kind="stable")
    values, starts = np.unique(users[order], return_index=True)
    return dict(zip(values, np.split(order, starts[1:]), strict=True))

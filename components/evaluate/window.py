"""The test window that everything is evaluated on: its moments, queries and catalogue."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.evaluate.moments import Moments, PastEvents, find_moments, read_events
from feature_repo.errors import DataError
from feature_repo.item_vectors import ITEM_VECTORS
from trainer.examples import microseconds


@dataclass(frozen=True)
class Window:
    """The test window.

    Attributes:
        impressions: the test examples.
        moments: every (user, instant) of them.
        targets: ([n] moment, [n] catalogue row) of the queries.
        events: all events.
        item_features: the feature table.
        catalogue: [items] sorted item ids.
        item_vectors: file with the embeddings that items come with.
    """

    impressions: pa.Table
    moments: Moments
    targets: tuple[np.ndarray, np.ndarray]
    events: PastEvents
    item_features: pa.Table
    catalogue: pa.Array
    item_vectors: Path

    @cached_property
    def users(self) -> np.ndarray:
        """[n] the user of each query."""
        return self.moments.users[self.targets[0]]

    @cached_property
    def instants(self) -> np.ndarray:
        """[n] int64 microseconds of each query."""
        return self.moments.timestamps[self.targets[0]]

    @cached_property
    def impression_users(self) -> np.ndarray:
        """[r] the user of each impression, in the order of `Moments.shown`."""
        return self.moments.users[self.moments.shown()[0]]

    @cached_property
    def items(self) -> pa.Table:
        """[items] the latest stored values of every item of the catalogue."""
        rows = pc.index_in(self.item_features.column("item_id"), self.catalogue).to_numpy()
        order = np.argsort(microseconds(self.item_features.column("event_timestamp")), kind="stable")
        latest = np.empty(len(self.catalogue), np.int64)
        latest[rows[order]] = order
        return self.item_features.take(pa.array(latest))


def read_window(examples: Path, events: Path, item_features: Path, repeat: bool) -> Window:
    """Reads the window.

    Args:
        examples: folder of the examples.
        events: all events.
        item_features: the feature table.
        repeat: whether items are consumed again and again.

    Raises:
        DataError: when nothing is asked for in it.
    """
    impressions = pq.read_table(examples / "test.parquet")
    table = pq.read_table(item_features)
    ids = pc.unique(table.column("item_id"))
    catalogue = ids.take(pc.array_sort_indices(ids))
    past = read_events(pq.read_table(events), catalogue)
    moments = find_moments(impressions, past, catalogue, repeat)
    targets = moments.queries()
    if not len(targets[0]):
        raise DataError("the test window has no positive impression: nothing can be evaluated. Widen `split.test`.")
    return Window(impressions, moments, targets, past, table, catalogue, examples / ITEM_VECTORS)

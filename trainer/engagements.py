"""What each user had engaged with before an instant."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from trainer.disk_arrays import DiskArrays, connect, search_within, stream


class Engagements:
    """First engagement of each user with each item; on disk, in two orders.

    Args:
        user_ids: [n] of the events.
        item_codes: [n] int64 codes in the catalogue; events of unknown items (-1) are left out.
        instants: [n] int64 unix microseconds.
    """

    def __init__(self, user_ids: np.ndarray, item_codes: np.ndarray, instants: np.ndarray) -> None:
        rows = pa.table(
            {
                "user_id": pa.array(user_ids, pa.string()),
                "item": pa.array(item_codes, pa.int64()),
                "instant": pa.array(instants, pa.int64()),
            }
        )
        self._build({"given": rows}, "SELECT * FROM given WHERE item >= 0")

    @classmethod
    def read(cls, paths: Iterable[Path], item_ids: np.ndarray, positives_only: bool = False) -> "Engagements":
        """Those of the rows of Parquet files with `user_id`, `item_id`, `timestamp` and `label`.

        Args:
            paths: of the files; read in bounded memory.
            item_ids: [m] the catalogue's, in the order of codes; other items are left out.
            positives_only: whether rows with label 0 count for nothing.
        """
        made = cls.__new__(cls)
        catalogue = pa.table({"item_id": pa.array(item_ids, pa.string()), "item": pa.array(range(len(item_ids)))})
        files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        query = f"""
            SELECT user_id, item, epoch_us(timestamp) AS instant
            FROM read_parquet([{files}]) JOIN catalogue USING (item_id)
            WHERE {"label > 0" if positives_only else "TRUE"}
        """
        made._build({"catalogue": catalogue}, query)
        return made

    def _build(self, tables: dict[str, pa.Table], rows: str) -> None:
        self._arrays = DiskArrays()
        with connect(tables, self._arrays.folder) as connection:
            connection.execute(f"""
                CREATE TEMP TABLE firsts AS
                SELECT user_id, item, min(instant) AS first FROM ({rows}) GROUP BY user_id, item
            """)
            counts = connection.execute(
                "SELECT user_id, count(*) AS items FROM firsts GROUP BY user_id ORDER BY user_id"
            ).fetch_arrow_table()
            self._users = counts.column("user_id").to_numpy().astype(object)
            self._starts = np.concatenate([[0], np.cumsum(counts.column("items").to_numpy())]).astype(np.int64)
            self._items_by_item, self._firsts_by_item = self._in_order(connection, "item", "by_item")
            self._items_by_time, self._firsts_by_time = self._in_order(connection, "first, item", "by_time")

    def _in_order(self, connection: duckdb.DuckDBPyConnection, order: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        query = f"SELECT item AS item_{name}, first AS first_{name} FROM firsts ORDER BY user_id, {order}"
        arrays = self._arrays.write(stream(connection, query), {f"item_{name}": np.int32, f"first_{name}": np.int64})
        return arrays[f"item_{name}"], arrays[f"first_{name}"]

    def item_counts(self, items: int) -> np.ndarray:
        """[items] how many users engaged with each item."""
        return np.bincount(self._items_by_item, minlength=items)

    def by_user(self, users_at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All engagements, some users at a time.

        Yields:
            Two arrays [pairs]: the user, from 0 within the part, and the item's code.
        """
        for begin in range(0, len(self._users), users_at_once):
            starts = self._starts[begin : begin + users_at_once + 1]
            users = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            yield users, self._items_by_item[starts[0] : starts[-1]].astype(np.int64)

    def before(self, user_ids: np.ndarray, instants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items engaged with strictly before each query.

        Args:
            user_ids: [n] of the queries.
            instants: [n] int64 unix microseconds.

        Returns:
            Two arrays [pairs]: the query's place and the item's code.
        """
        starts, ends = self._stretches(user_ids)
        counts = search_within(self._firsts_by_time, starts, ends, instants) - starts
        rows = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._items_by_time[np.repeat(starts, counts) + within].astype(np.int64)

    def includes(self, user_ids: np.ndarray, item_codes: np.ndarray, instants: np.ndarray) -> np.ndarray:
        """Whether each user had engaged with each item by an instant, the instant included.

        Args:
            user_ids: [n].
            item_codes: [n, m] or [n].
            instants: [n].

        Returns:
            bool of the shape of `item_codes`.
        """
        if not len(self._items_by_item):
            return np.zeros(item_codes.shape, bool)
        each = item_codes.size // max(len(user_ids), 1)
        starts, ends = (np.repeat(bound, each) for bound in self._stretches(user_ids))
        wanted = item_codes.ravel()
        places = search_within(self._items_by_item, starts, ends, wanted)
        held = np.where(places < ends, places, 0)
        found = (places < ends) & (self._items_by_item[held] == wanted)
        return (found & (self._firsts_by_item[held] <= np.repeat(instants, each))).reshape(item_codes.shape)

    def _stretches(self, user_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[n] bounds of each user's rows; empty for a user without any."""
        if not len(self._users):
            return np.zeros(len(user_ids), np.int64), np.zeros(len(user_ids), np.int64)
        places = np.minimum(np.searchsorted(self._users, user_ids), len(self._users) - 1)
        known = self._users[places] == user_ids
        return np.where(known, self._starts[places], 0), np.where(known, self._starts[places + 1], 0)

"""What each user had engaged with before an instant."""

import numpy as np

NEVER = np.iinfo(np.int64).max


class Engagements:
    """First engagement of each user with each item.

    Args:
        user_ids: [n] of the events.
        item_codes: [n] int64 codes in the catalogue; events of unknown items (-1) are left out.
        instants: [n] int64 unix microseconds.
    """

    def __init__(self, user_ids: np.ndarray, item_codes: np.ndarray, instants: np.ndarray) -> None:
        known = item_codes >= 0
        self._users, users = np.unique(user_ids[known].astype(object), return_inverse=True)
        items, times = item_codes[known], instants[known]
        self._span = int(items.max(initial=0)) + 1
        pairs = users * self._span + items
        order = np.lexsort((times, pairs))
        self._pairs, first = np.unique(pairs[order], return_index=True)
        self._first = times[order][first]
        # Instants are replaced by their rank, so that (user, instant) fits one sortable integer.
        self._times = np.unique(self._first)
        owners = self._pairs // self._span
        places = owners * (len(self._times) + 1) + np.searchsorted(self._times, self._first)
        by_time = np.argsort(places, kind="stable")
        self._places = places[by_time]
        self._items = (self._pairs % self._span)[by_time]
        self._starts = np.searchsorted(owners, np.arange(len(self._users) + 1))

    def before(self, user_ids: np.ndarray, instants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items engaged with strictly before each query.

        Args:
            user_ids: [n] of the queries.
            instants: [n] int64 unix microseconds.

        Returns:
            Two arrays [pairs]: the query's place and the item's code.
        """
        users = self._codes(user_ids)
        known = np.maximum(users, 0)
        limits = known * (len(self._times) + 1) + np.searchsorted(self._times, instants, side="left")
        starts = self._starts[known] if len(self._users) else np.zeros(len(users), np.int64)
        counts = np.where(users >= 0, np.searchsorted(self._places, limits, side="left") - starts, 0)
        rows = np.repeat(np.arange(len(users)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._items[np.repeat(starts, counts) + within]

    def includes(self, user_ids: np.ndarray, item_codes: np.ndarray, instants: np.ndarray) -> np.ndarray:
        """Whether each user had engaged with each item by an instant, the instant included.

        Args:
            user_ids: [n].
            item_codes: [n, m] or [n].
            instants: [n].

        Returns:
            bool of the shape of `item_codes`.
        """
        shape = (-1,) + (1,) * (item_codes.ndim - 1)
        users = self._codes(user_ids).reshape(shape)
        wanted = np.where(item_codes < self._span, users * self._span + item_codes, -1)
        if not len(self._pairs):
            return np.zeros(item_codes.shape, bool)
        places = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
        first = np.where((self._pairs[places] == wanted) & (users >= 0), self._first[places], NEVER)
        return first <= instants.reshape(shape)

    def _codes(self, user_ids: np.ndarray) -> np.ndarray:
        if not len(self._users):
            return np.full(len(user_ids), -1, np.int64)
        places = np.minimum(np.searchsorted(self._users, user_ids), len(self._users) - 1)
        return np.where(self._users[places] == user_ids, places, -1)

"""Whether groups of items are shown as much as they are wanted, and groups of users find what they want."""

from typing import Any

import numpy as np
import pyarrow as pa

from components.evaluate.config import SLICES
from components.evaluate.items import item_members
from components.evaluate.moments import PastEvents
from components.evaluate.slices import popularity_buckets
from feature_repo.spec import FeatureSpec
from trainer.metrics import Estimate, Interval, UserBootstrap

POPULARITY = "item_popularity"
"""Groups of items that every project has: head, middle and tail."""


class AttributeGroups:
    """Items by the values of a feature; an item with several counts for each in equal parts."""

    def __init__(self, features: FeatureSpec, items: pa.Table, name: str):
        """Takes one row of stored values an item. Raises ConfigError when there is no such feature."""
        self.names, members = item_members(features, items, name)
        self._parts = members / np.maximum(members.sum(axis=1, keepdims=True), 1)

    def exposures(
        self, bootstrap: UserBootstrap, lists: np.ndarray, targets: np.ndarray, instants: np.ndarray
    ) -> list[dict[str, Any]]:
        """`exposure_of_groups` of lists [n, k] of catalogue rows, for queries that ask for `targets` [n]."""
        shown = [self._parts[column] * (column >= 0)[:, None] for column in lists.T]
        return exposure_of_groups(bootstrap, self.names, shown, self._parts[targets])


class PopularityGroups:
    """Items by how popular they were at the instant of the query."""

    def __init__(self, events: PastEvents, items: int, refresh_seconds: int):
        """Takes what `popularity_buckets` does."""
        self.names = list(SLICES[POPULARITY])
        self._window = events, items, refresh_seconds

    def exposures(
        self, bootstrap: UserBootstrap, lists: np.ndarray, targets: np.ndarray, instants: np.ndarray
    ) -> list[dict[str, Any]]:
        """`exposure_of_groups` of lists [n, k] of catalogue rows, for queries that ask for `targets` [n]."""
        events, items, refresh_seconds = self._window
        rows = np.column_stack([targets, lists])
        at = np.repeat(instants, rows.shape[1])
        buckets = popularity_buckets(events, items, np.maximum(rows, 0).ravel(), at, refresh_seconds)
        parts = np.eye(len(self.names))[buckets.reshape(rows.shape)] * (rows >= 0)[:, :, None]
        return exposure_of_groups(bootstrap, self.names, list(parts[:, 1:].swapaxes(0, 1)), parts[:, 0])


def exposure_of_groups(
    bootstrap: UserBootstrap, names: list[str], shown: list[np.ndarray], wanted: np.ndarray
) -> list[dict[str, Any]]:
    """Each group's share of the exposure against its share of what was asked for.

    Args:
        bootstrap: of the queries' users.
        names: [g] of the groups.
        shown: for each position, from the first, [n, g] the parts that the item there has in each group.
        wanted: [n, g] the parts of the item that was asked for.

    Returns:
        For each group `group`, `wanted` (queries, parts added up), `relevance` and `exposure` (shares), and `ratio`
        [mean, low, high]; None where nobody asked for it.
    """
    exposure = sum(parts / np.log2(2.0 + place) for place, parts in enumerate(shown))
    by_user = [bootstrap.sums(np.asarray(parts)) for parts in (exposure, wanted)]
    values = [_shares(of_users.sum(axis=0)[None])[0] for of_users in by_user]
    resamples = [_shares(bootstrap.resample(of_users)) for of_users in by_user]
    rows = []
    for place, name in enumerate(names):
        ratio = _ratio(values[0][place], values[1][place])
        drawn = _ratio(resamples[0][:, place], resamples[1][:, place])
        rows.append(
            {
                "group": name,
                "wanted": float(wanted[:, place].sum()),
                "relevance": float(values[1][place]),
                "exposure": float(values[0][place]),
                "ratio": _three(Estimate(float(ratio), drawn).interval()),
            }
        )
    return rows


def opportunity_of_groups(
    bootstrap: UserBootstrap, users: np.ndarray, groups: np.ndarray, recall: np.ndarray, smallest: int
) -> dict[str, Any]:
    """How often each group of users finds what it wants.

    Args:
        bootstrap: of the queries' users.
        users: [n] the user of each query.
        groups: [n] str, the group of each query's user.
        recall: [n] of each query.
        smallest: a group with fewer queries is left out of the comparison.

    Returns:
        `groups`: for each `group`, `queries`, `users`, `recall` [mean, low, high] and whether it is `compared`; and
        where two or more are compared `best`, `worst` and their paired `difference` [mean, low, high].
    """
    rows, compared = [], {}
    for name in np.unique(groups).tolist():
        inside = groups == name
        estimate = bootstrap.mean(recall, inside)
        enough = int(inside.sum()) >= smallest
        if enough:
            compared[name] = estimate
        rows.append(
            {
                "group": name,
                "queries": int(inside.sum()),
                "users": len(np.unique(users[inside].astype(str))),
                "recall": _three(estimate.interval()),
                "compared": enough,
            }
        )
    found: dict[str, Any] = {"groups": rows}
    if len(compared) > 1:
        best, worst = (choose(compared, key=lambda name: compared[name].value) for choose in (max, min))
        difference = _three((compared[best] - compared[worst]).interval())
        found |= {"best": best, "worst": worst, "difference": difference}
    return found


def _shares(sums: np.ndarray) -> np.ndarray:
    totals = sums.sum(axis=1, keepdims=True)
    return sums / np.where(totals > 0, totals, 1.0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _three(interval: Interval) -> list[float | None] | None:
    """[mean, low, high], the bounds None where there is no interval; None where there is no mean."""
    known = [None if np.isnan(value) else value for value in (interval.mean, interval.low, interval.high)]
    return known if known[0] is not None else None

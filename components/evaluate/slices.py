"""Parts of the test window that are looked at on their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from components.evaluate.config import SLICES, EvaluateConfig
from components.evaluate.moments import Moments, PastEvents
from feature_repo.errors import ConfigError
from feature_repo.spec import Feature, FeatureSpec

HEAD, MIDDLE, TAIL = range(3)
_DAY = 86_400_000_000
_HISTORY_UNTIL = (0, 5, 20)
_AGE_DAYS_UNTIL = (7, 30, 90)
_HEAD_SHARE, _HEAD_AND_MIDDLE_SHARE = 0.5, 0.8


@dataclass(frozen=True)
class Slice:
    """A part of the window.

    Attributes:
        family: the slices among which it is one, such as `history`.
        name: such as `users with 1 to 5 past positives`.
        queries: [n] bool, which queries are in it.
        impressions: [r] bool, which impressions are, in the order of `Moments.shown`.
    """

    family: str
    name: str
    queries: np.ndarray
    impressions: np.ndarray


def find_slices(
    config: EvaluateConfig,
    features: FeatureSpec,
    moments: Moments,
    targets: tuple[np.ndarray, np.ndarray],
    events: PastEvents,
    items: int,
) -> list[Slice]:
    """Every slice, in the order of the report; one that nothing falls into as well.

    A user is what they were at the instant, an item's popularity that of the last refresh before it. Head items are the
    most popular ones that together have half of all past events, middle items those that follow up to four fifths, all
    others are tail. An item's age is the time since its first event.
    """
    cut = len(targets[0])
    # Queries and impressions are both (moment, item) pairs: one pass serves both.
    pairs = tuple(np.concatenate(both) for both in zip(targets, moments.shown(), strict=True))
    found = []
    for family, places in _families(config, moments, pairs, events, items):
        found += [Slice(family, n, (places == p)[:cut], (places == p)[cut:]) for p, n in enumerate(SLICES[family])]
    for name in config.segments:
        values = segment_values(features, moments, name)[pairs[0]]
        found += [
            Slice(name, f"{name} = {value}", (values == value)[:cut], (values == value)[cut:])
            for value in np.unique(values)
        ]
    return found


def segment_values(features: FeatureSpec, moments: Moments, name: str) -> np.ndarray:
    """[m] str: the value of a categorical user feature at each moment.

    Raises:
        ConfigError: when there is no such feature.
    """
    check_feature(features.user, name, ("categorical",), moments.rows.column_names)
    return moments.rows.column(name).combine_chunks().fill_null("(missing)").to_numpy(zero_copy_only=False).astype(str)


def check_feature(features: tuple[Feature, ...], name: str, kinds: tuple[str, ...], stored: list[str]) -> Feature:
    """The feature of that name, where it is of one of the kinds and there are values of it."""
    found = next((feature for feature in features if feature.name == name), None)
    if found is None or found.kind not in kinds or name not in stored:
        known = ", ".join(feature.name for feature in features if feature.kind in kinds and feature.name in stored)
        raise ConfigError(
            f"section `evaluate` groups by {name!r}, which is no {' or '.join(kinds)} feature that a model takes. "
            f"Name one of: {known or 'none'}."
        )
    return found


def popularity_buckets(
    events: PastEvents, items: int, rows: np.ndarray, instants: np.ndarray, refresh_seconds: int
) -> np.ndarray:
    """[p] HEAD, MIDDLE or TAIL: how popular each item was at the last refresh before each instant.

    Args:
        events: all events.
        items: size of the catalogue.
        rows: [p] catalogue rows.
        instants: [p] int64 microseconds.
        refresh_seconds: how often popularity is taken.
    """
    refreshes, inverse = np.unique(instants // (refresh_seconds * 1_000_000), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(refreshes) + 1))
    buckets = np.empty(len(rows), np.int64)
    counts, counted = np.zeros(items), 0
    for place, refresh in enumerate(refreshes):
        until = int(np.searchsorted(events.timestamps, refresh * refresh_seconds * 1_000_000, side="left"))
        counts += np.bincount(events.items[counted:until], minlength=items)
        counted = until
        ranked = np.argsort(-counts, kind="stable")
        before = np.cumsum(counts[ranked]) - counts[ranked]
        of_items = np.full(items, TAIL)
        of_items[ranked[before < _HEAD_AND_MIDDLE_SHARE * until]] = MIDDLE
        of_items[ranked[before < _HEAD_SHARE * until]] = HEAD
        inside = order[bounds[place] : bounds[place + 1]]
        buckets[inside] = of_items[rows[inside]]
    return buckets


def _families(
    config: EvaluateConfig, moments: Moments, pairs: tuple[np.ndarray, ...], events: PastEvents, items: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Each family, and for every pair the place of its slice in `SLICES`; -1 for none."""
    at, rows = pairs
    instants = moments.timestamps[at]
    first = events.first_of_items(items)
    first_shown = moments.timestamps.min(initial=np.iinfo(np.int64).max)
    engaged = np.array([len(seen) for seen in moments.seen], np.int64)

    found: dict[str, Callable[[], np.ndarray]] = {
        "history": lambda: np.searchsorted(_HISTORY_UNTIL, moments.past_positives, side="left")[at],
        "cold_users": lambda: np.where(engaged == 0, 0, -1)[at],
        "item_popularity": lambda: popularity_buckets(events, items, rows, instants, config.item_refresh_seconds),
        "item_age": lambda: _age(first[rows], instants),
        "cold_items": lambda: np.where(first[rows] >= first_shown, 0, -1),
    }
    if moments.repeat:
        found["repetition"] = lambda: np.where(moments.had(at, rows), 0, 1)
    for family, places in found.items():
        yield family, places()


def _age(first: np.ndarray, instants: np.ndarray) -> np.ndarray:
    """[p] place among the slices of `item_age`."""
    return np.where(
        first >= instants, 0, 1 + np.searchsorted(np.array(_AGE_DAYS_UNTIL) * _DAY, instants - first, side="left")
    )

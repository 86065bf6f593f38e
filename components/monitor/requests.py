"""What was served, as tables: from the gateway's prediction records."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import ARROW_TYPES
from feature_repo.spec import Feature


@dataclass(frozen=True)
class Window:
    """The requests that are looked at.

    Attributes:
        requests: how many requests the release answered in the window.
        others: requests of the window that other releases answered.
        fallbacks: answers of the release that were degraded.
        first, last: when the oldest and the newest came, unix seconds; 0 where there are none.
        sample: their records, at most as many as asked for, drawn at random.
    """

    requests: int
    others: int
    fallbacks: int
    first: float
    last: float
    sample: Sequence[Mapping[str, Any]]


def select_window(records: Iterable[Mapping[str, Any]], release: int, since: float, largest_sample: int) -> Window:
    """Goes through the records once.

    Args:
        records: prediction records.
        release: whose requests are wanted.
        since: unix seconds; older requests are left out.
        largest_sample: most records to keep.
    """
    # The same records give the same sample.
    draw = random.Random(0)
    sample: list[Mapping[str, Any]] = []
    requests = others = fallbacks = 0
    first = last = 0.0
    for record in records:
        at = record["received_at"]
        if at < since:
            continue
        if record["release"] != release:
            others += 1
            continue
        requests += 1
        fallbacks += record.get("fallback") is not None
        first, last = min(first or at, at), max(last, at)
        if len(sample) < largest_sample:
            sample.append(record)
        elif (place := draw.randrange(requests)) < largest_sample:
            sample[place] = record
    return Window(requests, others, fallbacks, first, last, sample)


def request_table(features: Iterable[Feature], records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Features as the gateway used them, a row a request; a degraded answer may have none and has no row then.

    Args:
        features: user and context features. A feature that no record has is no column.
        records: prediction records.
    """
    rows = [record["features"] for record in records if record["features"]]
    columns = {}
    for feature in features:
        if any(feature.name in row for row in rows):
            columns[feature.name] = _column(feature, [row.get(feature.name) for row in rows])
    return pa.table(columns)


def shown_table(
    features: Iterable[Feature], records: Iterable[Mapping[str, Any]], items: pa.Table
) -> tuple[pa.Table, Counter[str]]:
    """Features of the items that were shown, a row for each time.

    Args:
        features: item features.
        records: prediction records.
        items: the release's item table: `item_id` and its features.

    Returns:
        The rows; and how often each item was shown that the item table does not have.
    """
    shown = pa.array([item["item_id"] for record in records for item in record["items"]], pa.string())
    places = pc.index_in(shown, value_set=items.column("item_id").combine_chunks())
    unknown = Counter(shown.filter(pc.is_null(places)).to_pylist())
    names = [feature.name for feature in features if feature.name in items.column_names]
    return items.select(names).take(places.drop_null()), unknown


def stage_times(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Median and 99th percentile of each stage's milliseconds."""
    times: dict[str, list[float]] = {}
    for record in records:
        for stage, milliseconds in record["stage_ms"].items():
            times.setdefault(stage, []).append(milliseconds)
    return {stage: (float(np.median(taken)), float(np.percentile(taken, 99))) for stage, taken in times.items()}


def _column(feature: Feature, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, ARROW_TYPES[feature.kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError):
        # Values of another type are what the schema is there to find, not a reason to stop.
        words = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return pa.array(words, pa.string())

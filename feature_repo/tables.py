"""The canonical tables: Arrow schemas of what ingestion writes and everything after it reads."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

TIMESTAMP = pa.timestamp("us", tz="UTC")

EVENTS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("position", pa.int32()),
        pa.field("value", pa.float64()),
        # Whether the event is what the recommender is for (a like, a purchase), by the project's rule.
        pa.field("positive", pa.bool_(), nullable=False),
    ]
)
"""What users did, ordered by time."""

IMPRESSIONS = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("position", pa.int32()),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("propensity", pa.float64()),
    ]
)
"""What users were shown and whether it led to a positive event. Context columns may follow."""

SPLITS = ("train", "validation", "test")
"""Parts of the time-ordered impressions, oldest first."""


def data_window(events: pa.Table) -> tuple[datetime, datetime]:
    """The instant of the first event, and the first instant that sees the last one: the end of the data.

    Feature tables reach further, since events leave their windows after the last one has come: what a release or
    an online store is to hold is read as of the end of the data.

    Args:
        events: at least one, with `timestamp`.
    """
    bounds = pc.min_max(events.column("timestamp")).as_py()
    return bounds["min"], bounds["max"] + timedelta(microseconds=1)

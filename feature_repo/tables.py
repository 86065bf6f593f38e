"""The canonical tables: Arrow schemas of what ingestion writes and everything after it reads."""

import pyarrow as pa

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

"""A hundred events of nine people and eight items, as the feature tables and examples that training reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.spec import FeatureSpec
from feature_repo.tables import TIMESTAMP

DAY = 86_400_000_000
ITEMS = [f"i{place}" for place in range(8)]
SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {"name": "age", "kind": "numeric", "source": {"column": "age"}},
            {"name": "city", "kind": "categorical", "source": {"column": "city"}},
            {"name": "likes", "kind": "numeric", "source": {"aggregate": "count"}, "transform": {"type": "log"}},
            {
                "name": "last_event_at",
                "kind": "timestamp",
                "source": {"aggregate": "last_timestamp"},
                "transform": {"type": "elapsed", "cap_days": 10},
            },
            {
                "name": "last_items",
                "kind": "sequence",
                "length": 3,
                "source": {"aggregate": "last"},
                "transform": {"type": "vocabulary", "of": "item_id"},
            },
        ],
        "item": [
            {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
            {"name": "tags", "kind": "sequence", "length": 2, "source": {"column": "tags"}},
            {"name": "title", "kind": "text", "source": {"column": "title"}, "transform": {"type": "tokens"}},
            {"name": "events", "kind": "numeric", "source": {"aggregate": "count"}, "transform": {"type": "log"}},
            {
                "name": "item_last_event_at",
                "kind": "timestamp",
                "source": {"aggregate": "last_timestamp"},
                "used_by": ["ranking"],
            },
        ],
        "context": [{"name": "hour", "kind": "categorical", "source": {"clock": "hour"}}],
    }
)


def write_tables(folder: Path) -> tuple[Path, Path]:
    """Writes examples and item features; returns their paths. Every user likes the items of one parity."""
    random = np.random.default_rng(3)
    events = [(user, item) for user in range(9) for item in range(8)]
    random.shuffle(events)
    last: dict[int, list[str]] = {user: [] for user in range(9)}
    last_at: dict[int, int] = {}
    item_rows = [(item, 0, 0, None) for item in range(8)]
    item_last: dict[int, tuple[int, int | None]] = {item: (0, None) for item in range(8)}
    rows = []
    for place, (user, item) in enumerate(events):
        at = (1000 + place) * DAY
        rows.append(
            {
                "request_id": f"r{place}",
                "user_id": f"u{user}",
                "item_id": f"i{item}",
                "timestamp": at,
                "label": int(user % 2 == item % 2),
                "age": 20.0 + user,
                "city": "Ulm" if user % 2 else "Bern",
                "likes": float(len(last[user])),
                "last_event_at": last_at.get(user),
                "last_items": list(last[user][:3]),
                "tags": ["odd" if item % 2 else "even"],
                "title": f"The {'odd' if item % 2 else 'even'} one",
                "events": float(item_last[item][0]),
                "item_last_event_at": item_last[item][1],
                "hour": "0",
            }
        )
        last[user].insert(0, f"i{item}")
        last_at[user] = at // 1_000_000
        item_last[item] = (item_last[item][0] + 1, at // 1_000_000)
        item_rows.append((item, at + 1, *item_last[item]))
    cuts = {"train": rows[:52], "validation": rows[52:62], "test": rows[62:]}
    (folder / "examples").mkdir(parents=True, exist_ok=True)
    for split, part in cuts.items():
        pq.write_table(example_table(part), folder / "examples" / f"{split}.parquet")
    table = pa.table(
        {
            "item_id": [f"i{item}" for item, *_ in item_rows],
            "event_timestamp": pa.array([at for _, at, *_ in item_rows], pa.int64()).cast(TIMESTAMP),
            "tags": [["odd" if item % 2 else "even"] for item, *_ in item_rows],
            "title": [f"The {'odd' if item % 2 else 'even'} one" for item, *_ in item_rows],
            "events": pa.array([count for _, _, count, _ in item_rows], pa.float32()),
            "item_last_event_at": pa.array([at for *_, at in item_rows], pa.int64()),
        }
    )
    pq.write_table(table, folder / "item_features.parquet")
    return folder / "examples", folder / "item_features.parquet"


def example_table(rows: list[dict]) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    numbers = {name: pa.array(columns[name], pa.float32()) for name in ("age", "likes", "events")}
    times = pa.array(columns["timestamp"], pa.int64()).cast(TIMESTAMP)
    instants = {name: pa.array(columns[name], pa.int64()) for name in ("last_event_at", "item_last_event_at")}
    lists = {name: pa.array(columns[name], pa.list_(pa.string())) for name in ("last_items", "tags")}
    labels = pa.array(columns["label"], pa.int8())
    return pa.table({**columns, **numbers, **instants, **lists, "timestamp": times, "label": labels})

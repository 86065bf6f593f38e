import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from components.build_features.aggregates import feature_history, feature_state
from feature_repo.as_of import join_as_of
from feature_repo.spec import Feature
from feature_repo.tables import TIMESTAMP

DAY = 86_400_000_000
GENRES = {"a": ["x", "y"], "b": ["y"], "c": None, "d": ["x"]}


def feature(name: str, kind: str, length: int | None = None, **source) -> Feature:
    return Feature(name=name, kind=kind, length=length, source=source)


USER = (
    feature("age", "numeric", column="age"),
    feature("events", "numeric", aggregate="count"),
    feature("likes_2d", "numeric", aggregate="count", of="positive", window_days=2),
    feature("rate", "numeric", aggregate="rate", prior_mean=0.5, prior_weight=4),
    feature("rate_1d", "numeric", aggregate="rate", window_days=1, prior_mean=0.25, prior_weight=8),
    feature("by_genre", "embedding", 2, aggregate="share", of="positive", by="genres", values=("x", "y")),
    feature("last", "sequence", 3, aggregate="last"),
    feature("last_likes", "sequence", 2, aggregate="last", of="positive"),
    feature("last_at", "timestamp", aggregate="last_timestamp"),
    feature("last_like_at", "timestamp", aggregate="last_timestamp", of="positive"),
)


def table_of(rows: list[tuple[str, str, float, bool]]) -> pa.Table:
    users, items, days, positive = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "timestamp": pa.array([round(day * DAY) for day in days], pa.int64()).cast(TIMESTAMP),
            "positive": pa.array(positive, pa.bool_()),
        }
    )


def build(kind, side: str, features, events: pa.Table) -> pa.Table:
    connection = ibis.duckdb.connect()
    loaded = {
        "events": connection.create_table("events", events),
        "user": connection.create_table("users", pa.table({"user_id": ["u", "quiet"], "age": [30.0, 40.0]})),
        "item": connection.create_table(
            "items",
            pa.table({"item_id": list(GENRES), "genres": pa.array(list(GENRES.values()), pa.list_(pa.string()))}),
        ),
    }
    table = connection.to_pyarrow(kind(side, features, loaded["events"], loaded[side], loaded["item"]))
    instants = pc.cast(pc.cast(table.column("event_timestamp"), pa.int64()), TIMESTAMP)
    return table.set_column(table.column_names.index("event_timestamp"), "event_timestamp", instants)


def read(history: pa.Table, user: str, instant: int) -> dict:
    rows = pa.table({"user_id": [user], "timestamp": pa.array([instant], pa.int64()).cast(TIMESTAMP)})
    return join_as_of(rows, history, "user_id", [f.name for f in USER]).to_pylist()[0]


def expected(rows, user: str, instant: int) -> dict:
    """Straight from the definitions, one event after another."""
    past = [r for r in rows if r[0] == user and round(r[2] * DAY) < instant]
    newest = sorted(past, key=lambda r: (-r[2], r[1]))
    likes = [r for r in newest if r[3]]

    def inside(found, days):
        return [r for r in found if round(r[2] * DAY) >= instant - days * DAY]

    lately = inside(past, 1)
    shares = [sum(v in (GENRES[r[1]] or []) for r in likes) / len(likes) for v in "xy"] if likes else None
    return {
        "age": {"u": 30.0, "quiet": 40.0}.get(user),
        "events": len(past),
        "likes_2d": len(inside(likes, 2)),
        "rate": (len(likes) + 2) / (len(past) + 4),
        "rate_1d": (sum(r[3] for r in lately) + 2) / (len(lately) + 8),
        "by_genre": shares,
        "last": [r[1] for r in newest[:3]] or None,
        "last_likes": [r[1] for r in likes[:2]] or None,
        "last_at": int(newest[0][2] * 86400) if newest else None,
        "last_like_at": int(likes[0][2] * 86400) if likes else None,
    }


def assert_same(found: dict, wanted: dict) -> None:
    for name, value in wanted.items():
        if isinstance(value, float) or name == "by_genre":
            assert found[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name
        else:
            assert found[name] == value, name


def test_values_at_known_instants():
    # Worked out by hand: u acts on days 1 (likes a), 2 (dislikes b), 2 (likes d) and 4 (likes b).
    rows = [("u", "a", 1, True), ("u", "b", 2, False), ("u", "d", 2, True), ("u", "b", 4, True)]
    history = build(feature_history, "user", USER, table_of(rows))
    at_day_3 = read(history, "u", 3 * DAY)
    assert at_day_3["events"] == 3
    assert at_day_3["likes_2d"] == 2  # days 1 and 2: the window reaches back to day 1 inclusive
    assert at_day_3["rate"] == pytest.approx((2 + 2) / (3 + 4))
    assert at_day_3["rate_1d"] == pytest.approx((1 + 2) / (2 + 8))  # both events of day 2
    assert at_day_3["by_genre"] == [1.0, 0.5]  # a is x and y, d is x
    assert at_day_3["last"] == ["b", "d", "a"]  # ids of one instant in their own order
    assert at_day_3["last_likes"] == ["d", "a"]
    assert at_day_3["last_at"] == 2 * 86400
    just_after = read(history, "u", 3 * DAY + 1)
    assert just_after["likes_2d"] == 1
    assert just_after["rate_1d"] == pytest.approx(2 / 8)
    assert just_after["last"] == ["b", "d", "a"]


def test_an_event_sees_neither_itself_nor_others_of_its_instant():
    rows = [("u", "a", 1, True), ("u", "b", 1, True)]
    history = build(feature_history, "user", USER, table_of(rows))
    assert read(history, "u", DAY)["events"] == 0
    assert read(history, "u", DAY)["last"] is None
    assert read(history, "u", DAY + 1)["events"] == 2


def test_entity_without_events_has_its_attributes_and_empty_aggregates():
    history = build(feature_history, "user", USER, table_of([("u", "a", 1, True)]))
    assert_same(read(history, "quiet", 5 * DAY), expected([], "quiet", 5 * DAY))


def test_entity_without_attributes_is_found_by_its_events():
    rows = [("stranger", "a", 1, True)]
    history = build(feature_history, "user", USER, table_of(rows))
    assert_same(read(history, "stranger", 2 * DAY), expected(rows, "stranger", 2 * DAY))


@pytest.mark.parametrize("seed", range(4))
def test_history_is_what_the_definitions_say_at_any_instant(seed):
    random = np.random.default_rng(seed)
    # Quarter days make events of one instant and events on the edges of windows common.
    rows = [
        (
            str(random.choice(["u", "v"])),
            str(random.choice(list(GENRES))),
            random.integers(1, 40) / 4,
            random.random() < 0.5,
        )
        for _ in range(60)
    ]
    rows = [(user, item, float(day), bool(positive)) for user, item, day, positive in rows]
    history = build(feature_history, "user", USER, table_of(rows))
    instants = [quarter * DAY // 4 + tick for quarter in range(0, 56, 3) for tick in (0, 1)]
    for user in ("u", "v", "quiet"):
        for instant in instants:
            assert_same(read(history, user, instant), expected(rows, user, instant))


def test_later_events_change_nothing_before_them():
    rows = [("u", "a", 1, True), ("u", "b", 3, False), ("u", "c", 6, True)]
    before = build(feature_history, "user", USER, table_of(rows))
    after = build(feature_history, "user", USER, table_of([*rows[:2], ("u", "d", 7, False), ("u", "b", 8, True)]))
    for instant in (0, DAY, 2 * DAY, 3 * DAY, 5 * DAY, 6 * DAY):
        assert read(before, "u", instant) == read(after, "u", instant)


def test_item_side_counts_by_item_and_lists_users():
    features = (
        feature("item_events", "numeric", aggregate="count"),
        feature("last_users", "sequence", 2, aggregate="last"),
    )
    rows = [("u", "a", 1, True), ("v", "a", 2, False), ("w", "a", 3, False), ("u", "b", 1, True)]
    state = build(feature_state, "item", features, table_of(rows))
    found = {row["item_id"]: (row["item_events"], row["last_users"]) for row in state.to_pylist()}
    assert found == {"a": (3, ["w", "v"]), "b": (1, ["u"]), "c": (0, None), "d": (0, None)}


def test_state_is_the_history_at_the_end():
    rows = [("u", "a", 1, True), ("v", "b", 2, False), ("u", "d", 9, True), ("u", "b", 9, False)]
    end = 9 * DAY + 1
    for row in build(feature_state, "user", USER, table_of(rows)).to_pylist():
        assert_same(row, expected(rows, row["user_id"], end))

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.build_features.aggregates import CanonicalPaths, TablePaths, write_feature_tables
from feature_repo.as_of import join_as_of
from feature_repo.columns import ARROW_TYPES
from feature_repo.errors import DataError
from feature_repo.spec import Feature, FeatureSpec
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


USERS = pa.table({"user_id": ["u", "quiet"], "age": [30.0, 40.0]})
ITEMS = pa.table(
    {
        "item_id": list(GENRES),
        "genres": pa.array(list(GENRES.values()), pa.list_(pa.string())),
        "colour": ["red", "blue", None, "red"],
    }
)


def build(events: pa.Table, user=USER, item=()) -> dict[str, pa.Table]:
    with TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("events", "users", "items")}
        for (_, path), table in zip(files.items(), (events, USERS, ITEMS), strict=True):
            pq.write_table(table, path)
        out = TablePaths(*(Path(folder) / "out" / name for name in ("user_features", "item_features", "user_filters")))
        rows = write_feature_tables(FeatureSpec(user=user, item=item), CanonicalPaths(**files), out)
        tables = {name: pq.read_table(getattr(out, name)) for name in rows}
        assert rows == {name: table.num_rows for name, table in tables.items()}
        # Nothing half-written is left.
        assert sorted(path.name for path in (Path(folder) / "out").iterdir()) == sorted(rows)
        return tables


def users_of(rows, user=USER) -> pa.Table:
    return build(table_of(rows), user)["user_features"]


def read(history: pa.Table, entity: str, instant: int) -> dict:
    return read_all(history, [(entity, instant)])[0]


def read_all(history: pa.Table, asked: list[tuple[str, int]]) -> list[dict]:
    key, _, *features = history.column_names
    entities, instants = zip(*asked, strict=True)
    rows = pa.table({key: entities, "timestamp": pa.array(instants, pa.int64()).cast(TIMESTAMP)})
    return join_as_of(rows, history, key, features).to_pylist()


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
    history = users_of(rows)
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
    history = users_of(rows)
    assert read(history, "u", DAY)["events"] == 0
    assert read(history, "u", DAY)["last"] is None
    assert read(history, "u", DAY + 1)["events"] == 2


def test_entity_without_events_has_its_attributes_and_empty_aggregates():
    history = users_of([("u", "a", 1, True)])
    assert_same(read(history, "quiet", 5 * DAY), expected([], "quiet", 5 * DAY))


def test_entity_without_attributes_is_found_by_its_events():
    rows = [("stranger", "a", 1, True)]
    history = users_of(rows)
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
    history = users_of(rows)
    instants = [quarter * DAY // 4 + tick for quarter in range(56) for tick in (-1, 0, 1)]
    asked = [(user, max(instant, 0)) for user in ("u", "v", "quiet") for instant in instants]
    for (user, instant), found in zip(asked, read_all(history, asked), strict=True):
        assert_same(found, expected(rows, user, instant))


def test_later_events_change_nothing_before_them():
    rows = [("u", "a", 1, True), ("u", "b", 3, False), ("u", "c", 6, True)]
    before = users_of(rows)
    after = users_of([*rows[:2], ("u", "d", 7, False), ("u", "b", 8, True)])
    for instant in (0, DAY, 2 * DAY, 3 * DAY, 5 * DAY, 6 * DAY):
        assert read(before, "u", instant) == read(after, "u", instant)


def test_item_side_counts_by_item_and_lists_users():
    features = (
        feature("item_events", "numeric", aggregate="count"),
        feature("last_users", "sequence", 2, aggregate="last"),
    )
    rows = [("u", "a", 1, True), ("v", "a", 2, False), ("w", "a", 3, False), ("u", "b", 1, True)]
    history = build(table_of(rows), item=features)["item_features"]
    found = {item: tuple(read(history, item, 4 * DAY).values()) for item in GENRES}
    assert found == {"a": (3, ["w", "v"]), "b": (1, ["u"]), "c": (0, None), "d": (0, None)}


def test_item_that_the_catalogue_lacks_has_no_row_but_its_events_count_for_users():
    rows = [("u", "gone", 1, True), ("u", "a", 2, True)]
    tables = build(table_of(rows), item=(feature("item_events", "numeric", aggregate="count"),))
    assert set(tables["item_features"].column("item_id").to_pylist()) == set(GENRES)
    found = read(tables["user_features"], "u", 3 * DAY)
    assert found["last"] == ["a", "gone"]
    assert found["by_genre"] == [0.5, 0.5]


def test_filters_hold_what_only_filters_as_of_the_end_of_the_data():
    only = {"used_by": ("filter",)}
    seen = Feature(name="seen", kind="sequence", length=2, source={"aggregate": "last"}, **only)
    lately = Feature(name="lately", kind="numeric", source={"aggregate": "count", "window_days": 1}, **only)
    rows = [("u", "a", 1, True), ("u", "b", 2, True), ("u", "d", 2, False), ("v", "c", 3, True)]
    tables = build(table_of(rows), (feature("age", "numeric", column="age"), seen, lately))
    assert tables["user_features"].column_names == ["user_id", "event_timestamp", "age"]
    filters = tables["user_filters"]
    assert set(filters.column("event_timestamp").cast(pa.int64()).to_pylist()) == {3 * DAY + 1}
    found = {row["user_id"]: (row["seen"], row["lately"]) for row in filters.to_pylist()}
    # Just after day 3 the last day no longer holds the events of day 2.
    assert found == {"u": (["b", "d"], 0), "v": (["c"], 1), "quiet": (None, 0)}


def test_one_row_holds_for_all_events_of_an_instant():
    rows = [("u", "a", 1, True), ("u", "b", 1, True), ("u", "c", 1, False)]
    history = users_of(rows, (feature("likes_1d", "numeric", aggregate="count", of="positive", window_days=1),))
    found = [
        (row["event_timestamp"].timestamp() * 1e6, row["likes_1d"])
        for row in history.to_pylist()
        if row["user_id"] == "u"
    ]
    assert found == [(0, 0), (DAY + 1, 2), (2 * DAY + 1, 0)]


def test_values_are_stored_in_the_types_of_the_kinds():
    history = users_of([("u", "a", 1, True)])
    assert history.schema.field("event_timestamp").type == TIMESTAMP
    for one in USER:
        stored = history.schema.field(one.name).type
        wanted = ARROW_TYPES[one.kind]
        if pa.types.is_list(wanted):
            assert stored.value_type == wanted.value_type
        else:
            assert stored == wanted


def test_shares_by_one_attribute_with_different_values_do_not_mix():
    xy = feature("xy", "embedding", 2, aggregate="share", by="genres", values=("x", "y"))
    z = feature("zy", "embedding", 2, aggregate="share", by="genres", values=("z", "y"))
    history = users_of([("u", "a", 1, True)], (xy, z))
    assert read(history, "u", 2 * DAY) == {"xy": [1.0, 1.0], "zy": [0.0, 1.0]}


def test_share_by_an_attribute_of_one_value():
    colours = feature("colours", "embedding", 2, aggregate="share", by="colour", values=("red", "blue"))
    rows = [("u", "a", 1, True), ("u", "c", 1, True), ("u", "b", 1, False), ("u", "d", 1, True)]
    # Likes: a red, c of no colour, d red.
    assert read(users_of(rows, (colours,)), "u", 2 * DAY)["colours"] == pytest.approx([2 / 3, 0])


def test_rate_without_events_and_prior_weight_is_the_prior_mean():
    rate = feature("rate", "numeric", aggregate="rate", prior_mean=0.25, prior_weight=0)
    history = users_of([("u", "a", 1, True)], (rate,))
    assert read(history, "quiet", 2 * DAY)["rate"] == 0.25
    assert read(history, "u", 2 * DAY)["rate"] == 1.0


def test_without_any_event_every_entity_has_its_first_row_only():
    tables = build(table_of([]), item=(feature("item_events", "numeric", aggregate="count"),))
    assert tables["user_features"].num_rows == 2
    assert_same(read(tables["user_features"], "u", DAY), expected([], "u", DAY))
    assert tables["item_features"].column("item_events").to_pylist() == [0.0] * 4


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((feature("age", "numeric", column="agee"),), "`age` takes column `agee`, which users do not have"),
        (
            (feature("by", "embedding", 1, aggregate="share", by="genre", values=("x",)),),
            "`by` takes column `genre`, which items do not have",
        ),
        ((feature("age", "sequence", 2, column="age"),), "`age` is a list by its kind, sequence, but column `age`"),
    ],
)
def test_column_that_does_not_fit_is_refused_on_one_line(features, message):
    with pytest.raises(DataError, match=message) as refused:
        build(table_of([("u", "a", 1, True)]), features)
    assert "\n" not in str(refused.value)


def test_list_for_a_single_value_is_refused():
    with pytest.raises(DataError, match="`genres` is a single value by its kind, categorical"):
        build(table_of([]), item=(feature("genres", "categorical", column="genres"),))

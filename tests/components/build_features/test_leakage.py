import json

import numpy as np
import pyarrow as pa
import pytest

from components.build_features.config import LeakageConfig
from components.build_features.leakage import check_leakage, lower_bound, measure_leakage
from components.build_features.previous_rows import find_previous
from feature_repo.errors import ConfigError, DataError
from feature_repo.spec import FeatureSpec
from feature_repo.tables import TIMESTAMP

USERS, ITEMS, ROWS = 30, 120, 3000
LENGTH = 8
SPEC = {
    "user": [
        {"name": "city", "kind": "categorical", "source": {"column": "city"}},
        {"name": "visits", "kind": "numeric", "source": {"column": "visits"}},
        {"name": "likes", "kind": "numeric", "source": {"aggregate": "count", "of": "positive"}},
        {"name": "rate", "kind": "numeric", "source": {"aggregate": "rate"}},
        {"name": "last_at", "kind": "timestamp", "source": {"aggregate": "last_timestamp", "of": "positive"}},
        {"name": "last_events", "kind": "sequence", "length": LENGTH, "source": {"aggregate": "last"}},
        {"name": "wishes", "kind": "sequence", "length": LENGTH, "source": {"column": "wishes"}},
        {"name": "taste", "kind": "embedding", "length": 3, "source": {"column": "taste"}},
    ],
    "item": [
        {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
        {"name": "title", "kind": "text", "source": {"column": "title"}},
    ],
    "context": [{"name": "visit", "kind": "categorical", "source": {"column": "visit"}}],
}
FEATURES = FeatureSpec.model_validate(SPEC)
CONFIG = LeakageConfig()


def table(late: bool = False, repeats: bool = False, at_once: int = 1, seed: int = 3) -> pa.Table:
    """Rows with random labels, their histories read just before each row, or just after when `late`.

    `at_once` rows of a user share an instant. Where `repeats`, users take the same few items again and again.
    """
    random = np.random.default_rng(seed)
    past: dict[int, list[tuple[str, int, int]]] = {user: [] for user in range(USERS)}
    rows = []
    while len(rows) < ROWS:
        user, second = int(random.integers(USERS)), 1_000_000 + 60 * len(rows)
        had = {item for item, _, _ in past[user]}
        choice = [f"i{user % 5 + i}" for i in range(6)] if repeats else [f"i{i}" for i in range(ITEMS)]
        free = choice if repeats else [item for item in choice if item not in had]
        if len(free) < at_once:
            past[user], free = [], choice
        acts = [(str(item), int(random.random() < 0.4), second) for item in random.choice(free, at_once, replace=False)]
        known = past[user] + (acts if late else [])
        likes = [act for act in known if act[1]]
        for item, label, _ in acts:
            rows.append(
                {
                    "user_id": f"u{user}",
                    "item_id": item,
                    "timestamp": second * 1_000_000,
                    "label": label,
                    "city": f"c{user % 4}",
                    "visits": float(random.integers(20)),
                    "likes": float(len(likes)),
                    "rate": (len(likes) + 2) / (len(known) + 5),
                    "last_at": likes[-1][2] if likes else None,
                    "last_events": [act[0] for act in reversed(known)][:LENGTH] or None,
                    "wishes": [f"i{i}" for i in random.integers(ITEMS, size=3)],
                    "taste": random.normal(size=3).tolist(),
                    "title": f"The {('Red', 'Blue')[int(item[1:]) % 2]} Film {item}",
                    "visit": f"v{len(rows) // 4}",
                }
            )
        past[user] += acts
    return pa.Table.from_pylist(
        rows,
        pa.schema(
            [
                *[(name, pa.string()) for name in ("user_id", "item_id")],
                ("timestamp", TIMESTAMP),
                ("label", pa.int8()),
                ("city", pa.string()),
                *[(name, pa.float32()) for name in ("visits", "likes", "rate")],
                ("last_at", pa.int64()),
                *[(name, pa.list_(pa.string())) for name in ("last_events", "wishes")],
                ("taste", pa.list_(pa.float32())),
                *[(name, pa.string()) for name in ("title", "visit")],
            ]
        ),
    )


@pytest.fixture(scope="module")
def honest() -> pa.Table:
    return table()


def found(rows: pa.Table, config: LeakageConfig = CONFIG) -> dict[str, str]:
    """How each guilty feature was found out."""
    return {one.feature: one.how for one in measure_leakage(FEATURES, rows, config) if one.found}


def planted(rows: pa.Table, name: str, values: list) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, pa.array(values, rows.schema.field(name).type))


def with_noise(rows: pa.Table, share: float = 0.01) -> np.ndarray:
    """The labels, a share of them wrong."""
    wrong = np.random.default_rng(1).random(rows.num_rows) < share
    return np.where(wrong, 1 - rows.column("label").to_numpy(), rows.column("label").to_numpy())


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("at_once", [1, 3])
def test_features_known_in_advance_raise_no_alarm(repeats, at_once):
    assert found(table(repeats=repeats, at_once=at_once)) == {}


@pytest.mark.parametrize("seed", range(5))
def test_random_labels_raise_no_alarm_even_where_few_rows_let_chance_look_perfect(honest, seed):
    few = honest.slice(400 * seed, 12)
    assert found(few) == {}


PLANTS = {
    "visits": (lambda label, row: label + 0.1 * np.sin(row), "by its value"),
    "city": (lambda label, row: f"{'liked' if label else 'passed'}-{row % 7}", "by its values"),
    "last_at": (lambda label, row: 5 if label else None, "by whether it is present"),
    "wishes": (lambda label, row: [f"i{row % 9}", "done" if label else "open"], "by the best of its entries"),
    "title": (lambda label, row: f"Film {row} {'Bought' if label else 'left'}", "by the best of its words"),
    "taste": (lambda label, row: [np.cos(row), -label + 0.1 * np.sin(row), 0.0], "by its dimension 1"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_feature_that_knows_the_label_is_named(honest, name):
    plant, how = PLANTS[name]
    rows = planted(honest, name, [plant(label, row) for row, label in enumerate(with_noise(honest))])
    assert found(rows) == {name: how}


def test_number_whose_middle_values_are_the_positives_is_named(honest):
    values = [row % 5 + (50 if label else 100 * (row % 2)) for row, label in enumerate(with_noise(honest))]
    assert found(planted(honest, "visits", values)) == {"visits": "by the range of its value"}


def test_presence_of_the_negatives_counts_too(honest):
    values = [None if label else 3.0 for label in with_noise(honest)]
    assert found(planted(honest, "visits", values)) == {"visits": "by whether it is present"}


def test_ids_of_single_visits_raise_no_alarm_though_each_has_one_label(honest):
    labels = honest.column("label").to_numpy()
    values = [f"{label}-{row // 8}" for row, label in enumerate(labels)]
    assert found(planted(honest, "visit", values)) == {}


@pytest.mark.parametrize("at_once", [1, 3])
def test_aggregates_that_contain_the_rows_own_event_are_named(at_once):
    late = found(table(late=True, at_once=at_once))
    assert set(late) >= {"likes", "last_at", "last_events"}
    assert late["likes"] == "by its change"
    assert late["last_at"] in ("by whether it changed", "by its change", "by the time since it")
    assert "rows hold their own item_id, though user and item had not met before" in late["last_events"]


def test_history_with_the_rows_own_item_is_named_where_items_repeat_too():
    # Users take 6 items again and again: an honest history of 8 holds the row's own item more often than not.
    assert set(found(table(late=True, repeats=True))) >= {"likes", "last_events"}


def test_own_item_may_be_in_as_many_histories_as_the_config_allows():
    late = table(late=True)
    assert "last_events" in found(late)
    assert "last_events" not in found(late, LeakageConfig(largest_own_share=1.0))


def test_list_that_shows_what_users_had_before_raises_no_alarm_where_items_repeat():
    rows = table(repeats=True)
    assert found(planted(rows, "wishes", rows.column("last_events").to_pylist())) == {}


def test_history_that_reaches_further_back_than_the_rows_raises_no_alarm_where_items_repeat():
    # The first meetings in these rows are none: the histories held most of the items already.
    assert found(table(repeats=True).slice(1500), LeakageConfig(largest_own_share=0.2)) == {}


@pytest.mark.parametrize(("only_liked", "how"), [(True, "by "), (False, "of negative rows hold their own item_id")])
def test_list_as_of_the_export_is_named(honest, only_liked, how):
    # An attribute that holds what each user liked, or was shown, in all of the data.
    later: dict[str, list[str]] = {}
    pairs = zip(*(honest.column(name).to_pylist() for name in ("user_id", "item_id", "label")), strict=True)
    for user, item, label in pairs:
        later.setdefault(user, []).extend([item] if label or not only_liked else [])
    values = [sorted(set(later[user])) for user in honest.column("user_id").to_pylist()]
    rows = planted(honest, "wishes", values)
    assert any(one.how.startswith(how) for one in measure_leakage(FEATURES, rows, CONFIG) if one.found)


def test_threshold_decides(honest):
    rows = planted(honest, "visits", [float(label) for label in with_noise(honest, 0.15)])
    assert found(rows) == {}
    assert found(rows, LeakageConfig(largest_auc=0.8)) == {"visits": "by its value"}


def test_rows_are_sampled_and_the_sample_is_the_same_every_time(honest):
    rare = np.zeros(honest.num_rows, np.int8)
    rare[::12] = 1
    rows = planted(planted(honest, "label", rare.tolist()), "visits", rare.astype(float).tolist())
    config = LeakageConfig(sample_rows=1000)
    first = measure_leakage(FEATURES, rows, config)
    assert first == measure_leakage(FEATURES, rows, config)
    # All 250 positives are looked at; a plain third of the rows would have 83, too few to be sure.
    assert first[0].feature == "visits" and first[0].found
    assert first[0].at_least == pytest.approx(250 / 259)


def test_refusal_is_one_line_and_the_measures_are_written_beside(honest, tmp_path):
    rows = planted(honest, "visits", [float(label) for label in with_noise(honest)])
    report = tmp_path / "leakage.json"
    with pytest.raises(DataError) as caught:
        check_leakage(FEATURES, rows.slice(0, 2000), rows.slice(2000), CONFIG, report)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("a feature knows what is to be predicted: `visits` (AUC 0.9")
    assert "by its value, 0.9" in message and "in the validation window)" in message
    assert "name it under `leakage.allowed`" in message
    written = json.loads(report.read_text())
    assert (written[0]["feature"], written[0]["found"], written[0]["limit"]) == ("visits", True, 0.95)
    assert {one["feature"] for one in written} == {feature.name for feature in FEATURES.all}


@pytest.mark.parametrize("config", [LeakageConfig(check=False), LeakageConfig(allowed=("visits",))])
def test_planted_feature_passes_when_the_check_is_off_or_allows_it(honest, tmp_path, config):
    rows = planted(honest, "visits", [float(label) for label in with_noise(honest)])
    check_leakage(FEATURES, rows, rows, config, tmp_path / "leakage.json")


def test_what_is_allowed_is_told(honest, tmp_path, capsys):
    rows = planted(honest, "visits", [float(label) for label in with_noise(honest)])
    check_leakage(FEATURES, rows, rows, LeakageConfig(allowed=("visits",)), tmp_path / "leakage.json")
    assert "leakage: none found beyond what is allowed (visits);" in capsys.readouterr().out


def test_allowing_a_feature_that_does_not_exist_is_refused(honest, tmp_path):
    with pytest.raises(ConfigError, match="`leakage.allowed` must name features that a model takes. Received: 'vists'"):
        check_leakage(FEATURES, honest, honest, LeakageConfig(allowed=("vists",)), tmp_path / "leakage.json")


def test_one_label_alone_is_nothing_to_look_at(honest, tmp_path, capsys):
    rows = planted(honest, "label", [0] * honest.num_rows)
    check_leakage(FEATURES, rows, rows, CONFIG, tmp_path / "leakage.json")
    assert "the training rows have one label alone" in capsys.readouterr().out


def test_strongest_feature_is_told(honest, tmp_path, capsys):
    rows = planted(honest, "visits", [float(label) for label in with_noise(honest, 0.3)])
    check_leakage(FEATURES, rows, rows, CONFIG, tmp_path / "leakage.json")
    assert "leakage: none found; strongest single feature visits, AUC 0.69" in capsys.readouterr().out


def test_previous_rows_are_those_of_the_entitys_instant_before():
    # Entity 0 at 10, 10, 20 and 30; entity 1 at 10 alone.
    previous = find_previous(np.array([0, 1, 0, 0, 0]), np.array([10, 10, 10, 20, 30]), np.array([0, 1, 1, 0, 1]))
    assert previous.rows.tolist() == [3, 4]
    assert previous.previous.tolist() == [0, 3]
    assert previous.labels.tolist() == [0, 1]
    assert previous.of_row.tolist() == [-1, -1, -1, 0, 3]


def test_label_of_an_instant_is_positive_when_any_of_its_rows_is():
    previous = find_previous(np.array([0, 0, 0]), np.array([1, 2, 2]), np.array([0, 0, 1]))
    assert previous.labels.tolist() == [1]


def test_lower_bound_of_a_share():
    # Wilson with z = 3: a share of 1 on n rows is at least n / (n + 9).
    assert lower_bound(1.0, 91) == pytest.approx(0.91)
    assert lower_bound(0.0, 50) == pytest.approx(0.0)
    assert lower_bound(0.5, 0) == 0.0

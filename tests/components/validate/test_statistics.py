from datetime import UTC, datetime

import pyarrow as pa
import pytest

from components.validate.statistics import (
    columns_of,
    find_anomalies,
    generate_statistics,
    read_schema,
    read_statistics,
    schema_from_features,
    write_schema,
    write_statistics,
)
from feature_repo.errors import DataError
from feature_repo.spec import AggregateSource, ClockSource, ColumnSource, Feature

N = 20
FEATURES = (
    Feature(name="age", kind="numeric", source=ColumnSource(column="age"), minimum=0, maximum=120),
    Feature(name="likes", kind="numeric", source=AggregateSource(aggregate="count")),
    Feature(name="rate", kind="numeric", source=AggregateSource(aggregate="rate")),
    Feature(name="colour", kind="categorical", source=ColumnSource(column="colour")),
    Feature(name="weekday", kind="categorical", source=ClockSource(clock="weekday")),
    Feature(name="tags", kind="sequence", length=3, source=ColumnSource(column="tags")),
    Feature(name="vector", kind="embedding", length=2, source=ColumnSource(column="vector")),
    Feature(name="seen_at", kind="timestamp", source=AggregateSource(aggregate="last_timestamp")),
)


def rows(**changes):
    columns = {
        "age": pa.array([30.0, None] * 10, pa.float32()),
        "likes": pa.array([float(n) for n in range(N)], pa.float32()),
        "rate": pa.array([0.25] * N, pa.float32()),
        "colour": ["red", "blue"] * 10,
        "weekday": ["1"] * N,
        "tags": [["a", "b"], []] * 10,
        "vector": pa.array([[0.5, 1.0]] * N, pa.list_(pa.float32())),
        "seen_at": pa.array([1_700_000_000] * N, pa.int64()),
    }
    return pa.table({**columns, **changes})


@pytest.fixture(scope="module")
def schema():
    return schema_from_features(FEATURES, generate_statistics(rows()))


def anomalies(schema, **changes):
    return [(found.column, found.short) for found in find_anomalies(generate_statistics(rows(**changes)), schema)]


def test_statistics_count_rows_and_missing_values():
    table = pa.table(
        {
            "age": pa.chunked_array([pa.array([30.0, None], pa.float32()), pa.array([50.0], pa.float32())]),
            "at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
            "positive": [True, False, True],
            "tags": [["a", "b"], None, []],
            "nothing": pa.nulls(3, pa.string()),
        }
    )
    statistics = generate_statistics(table)
    assert statistics.datasets[0].num_examples == 3
    columns = columns_of(statistics)
    age = columns["age"].num_stats
    assert (age.common_stats.num_non_missing, age.common_stats.num_missing, age.mean) == (2, 1, 40.0)
    assert columns["at"].num_stats.max == 1704067200
    assert columns["positive"].num_stats.mean == pytest.approx(2 / 3)
    tags = columns["tags"].string_stats
    assert (tags.common_stats.num_non_missing, tags.common_stats.max_num_values, tags.unique) == (2, 2, 2)
    assert columns["nothing"].string_stats.common_stats.num_missing == 3


def test_rows_fit_the_schema_made_from_them(schema):
    assert anomalies(schema) == []


def test_other_rows_of_the_kind_fit_too(schema):
    assert anomalies(schema, likes=pa.array([1e6] * N, pa.float32()), tags=[["x", "y", "z"]] * N) == []


@pytest.mark.parametrize(
    ("column", "values", "short"),
    [
        ("age", pa.array([121.0] + [30.0] * 19, pa.float32()), "Out-of-range values"),
        ("age", pa.array([30.0] * 4 + [None] * 16, pa.float32()), "Column dropped"),  # 20% of rows, was 50%
        ("likes", pa.array([-1.0] + [3.0] * 19, pa.float32()), "Out-of-range values"),
        ("rate", pa.array([1.5] + [0.3] * 19, pa.float32()), "Out-of-range values"),
        ("rate", pa.array([float("nan")] + [0.3] * 19, pa.float32()), "Invalid values"),
        ("colour", ["green"] + ["red"] * 19, "Unexpected string values"),
        ("colour", pa.array([1.0] * N, pa.float32()), "Unexpected data type"),
        ("weekday", ["7"] * N, "Unexpected string values"),
        ("tags", [["a"] * 4] * N, "Superfluous values"),
        ("vector", pa.array([[0.5]] * N, pa.list_(pa.float32())), "Missing values"),
        ("seen_at", ["yesterday"] * N, "Unexpected data type"),
    ],
)
def test_rows_that_depart_are_found(schema, column, values, short):
    found = anomalies(schema, **{column: values})
    assert [name for name, _ in found] == [column]
    assert found[0][1].startswith(short), found


def test_absent_column_is_found(schema):
    assert [
        (found.column, found.short) for found in find_anomalies(generate_statistics(rows().drop(["rate"])), schema)
    ] == [("rate", "Column dropped")]


def test_clock_features_may_have_any_of_their_values(schema):
    assert anomalies(schema, weekday=["0", "6"] * 10) == []


def test_large_vocabularies_have_no_domain():
    table = rows(colour=[f"c{n}" for n in range(N)])
    features = [feature for feature in FEATURES if feature.name == "colour"]
    wide = pa.table({"colour": [f"c{n}" for n in range(101)]})
    assert not schema_from_features(features, generate_statistics(wide)).feature[0].HasField("string_domain")
    assert len(schema_from_features(features, generate_statistics(table)).feature[0].string_domain.value) == N


def test_statistics_and_schema_are_read_as_written(tmp_path, schema):
    statistics = generate_statistics(rows())
    write_statistics(statistics, tmp_path / "new" / "statistics.pb")
    write_schema(schema, tmp_path / "schema.pbtxt")
    assert read_statistics(tmp_path / "new" / "statistics.pb") == statistics
    assert read_schema(tmp_path / "schema.pbtxt") == schema
    assert 'name: "age"' in (tmp_path / "schema.pbtxt").read_text()


@pytest.mark.parametrize("read", [read_statistics, read_schema])
@pytest.mark.parametrize("content", [None, b"\xff\xff no proto"])
def test_unreadable_files_are_named(tmp_path, read, content):
    path = tmp_path / "file"
    if content:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"cannot be read from {path}") as raised:
        read(path)
    assert "\n" not in str(raised.value)

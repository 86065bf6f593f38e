"""TFDV statistics and schemas: what data looks like, and what it must look like.

TFDV's statistics are computed in this process: one Arrow record batch through its generators takes about a second for
a million values, while a Beam pipeline takes longer than that to start.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from feature_repo.errors import DataError
from feature_repo.files import write_file
from feature_repo.spec import AggregateSource, ClockSource, Feature

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

LARGEST_DOMAIN = 100
"""A categorical feature with at most so many values has a closed domain."""

SMALLEST_DOMAIN_MASS = 0.99
"""Share of values that must be of the domain: one new value among many is news, not an error."""

PRESENCE_SLACK = 0.5
"""A feature may be present in so much smaller a share of rows than it was: newcomers have no attributes yet."""

_TYPES = {"categorical": "BYTES", "sequence": "BYTES", "text": "BYTES", "numeric": "FLOAT", "embedding": "FLOAT"}
_CLOCK_VALUES = {"hour": 24, "weekday": 7}


class Anomaly(NamedTuple):
    """Where data departs from its schema."""

    column: str
    short: str
    long: str


def generate_statistics(table: pa.Table) -> "DatasetFeatureStatisticsList":
    """TFDV statistics of every column.

    Args:
        table: n rows. Strings, numbers, booleans, lists of strings or numbers; instants count as unix seconds.
    """
    from tensorflow_data_validation.statistics import stats_impl, stats_options
    from tfx_bsl.arrow import table_util

    columns = [_values(table.column(name)) for name in table.column_names]
    batch = table_util.CanonicalizeRecordBatch(pa.RecordBatch.from_arrays(columns, table.column_names))
    return stats_impl.generate_statistics_in_memory(batch, stats_options.StatsOptions())


def schema_from_features(features: Iterable[Feature], statistics: "DatasetFeatureStatisticsList") -> "Schema":
    """What the features' stored values must look like.

    Type, number of values and range come from the spec; how often a value is present and the values of small
    categorical features come from the statistics.

    Args:
        features: those that the schema is for; those without statistics are left out.
        statistics: of the rows that models learn from.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    measured = columns_of(statistics)
    schema = schema_pb2.Schema()
    for feature in features:
        if feature.name not in measured:
            continue
        column = measured[feature.name]
        common = _common(column)
        declared = schema.feature.add(name=feature.name)
        declared.type = schema_pb2.FeatureType.Value(_TYPES.get(feature.kind, "INT"))
        rows = common.num_non_missing + common.num_missing
        if common.num_non_missing:
            declared.presence.min_fraction = PRESENCE_SLACK * common.num_non_missing / rows
        if feature.kind == "sequence":
            declared.value_count.max = max(feature.length or 0, common.max_num_values)
        elif feature.kind == "embedding":
            declared.value_count.min = declared.value_count.max = feature.length or 0
        else:
            declared.value_count.min = declared.value_count.max = 1
        if feature.kind in ("numeric", "embedding"):
            _set_range(feature, declared)
        elif feature.kind == "categorical":
            values = _domain(feature, column)
            if values:
                declared.string_domain.value.extend(values)
                declared.distribution_constraints.min_domain_mass = SMALLEST_DOMAIN_MASS
    return schema


def find_anomalies(statistics: "DatasetFeatureStatisticsList", schema: "Schema") -> list[Anomaly]:
    """Where the statistics depart from the schema, by column."""
    import tensorflow_data_validation as tfdv

    found = tfdv.validate_statistics(statistics, schema).anomaly_info
    return [Anomaly(name, info.short_description, _tidy(info.description)) for name, info in sorted(found.items())]


def columns_of(statistics: "DatasetFeatureStatisticsList") -> dict[str, Any]:
    """TFDV's `FeatureNameStatistics` by column."""
    return {"".join(column.path.step) or column.name: column for column in statistics.datasets[0].features}


def write_statistics(statistics: "DatasetFeatureStatisticsList", path: Path | str) -> None:
    """Writes the binary proto."""
    write_file(statistics.SerializeToString(), path)


def read_statistics(path: Path | str) -> "DatasetFeatureStatisticsList":
    """Reads what `write_statistics` wrote.

    Raises:
        DataError: the file is missing or holds no statistics.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_metadata.proto.v0 import statistics_pb2

    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        statistics.ParseFromString(Path(path).read_bytes())
    except (OSError, DecodeError) as error:
        raise DataError(f"statistics cannot be read from {path} ({_reason(error)}). Release again.") from error
    return statistics


def write_schema(schema: "Schema", path: Path | str) -> None:
    """Writes the proto as text, to be read and compared by people too."""
    from google.protobuf import text_format

    write_file(text_format.MessageToString(schema).encode(), path)


def read_schema(path: Path | str) -> "Schema":
    """Reads what `write_schema` wrote.

    Raises:
        DataError: the file is missing or holds no schema.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), schema_pb2.Schema())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise DataError(f"a schema cannot be read from {path} ({_reason(error)}). Release again.") from error


def _values(column: pa.ChunkedArray) -> pa.Array:
    """One array of a type that TFDV takes."""
    values = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pt.is_timestamp(values.type):
        microseconds = pc.cast(pc.cast(values, pa.timestamp("us", values.type.tz), safe=False), pa.int64())
        return pc.cast(pc.floor(pc.divide(pc.cast(microseconds, pa.float64()), 1e6)), pa.int64())
    if pt.is_boolean(values.type):
        return pc.cast(values, pa.int8())
    return values


def _common(column: Any) -> Any:
    return getattr(column, column.WhichOneof("stats")).common_stats


def _set_range(feature: Feature, declared: Any) -> None:
    low, high = feature.minimum, feature.maximum
    if isinstance(feature.source, AggregateSource):
        low = 0.0 if low is None else low
        if feature.source.aggregate in ("rate", "share"):
            high = 1.0 if high is None else high
    if low is not None:
        declared.float_domain.min = low
    if high is not None:
        declared.float_domain.max = high
    declared.float_domain.disallow_nan = True


def _domain(feature: Feature, column: Any) -> list[str]:
    if isinstance(feature.source, ClockSource):
        return [str(value) for value in range(_CLOCK_VALUES[feature.source.clock])]
    ranked = column.string_stats.rank_histogram.buckets
    if column.string_stats.unique > LARGEST_DOMAIN or len(ranked) < column.string_stats.unique:
        return []
    return sorted(bucket.label for bucket in ranked)


def _tidy(description: str) -> str:
    """TFDV's words on one line, without its remark on digits."""
    return " ".join(description.replace("(upto six significant digits)", "").split())


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())

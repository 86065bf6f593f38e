"""From stored feature values to the arrays that models take.

Training, evaluation, index building and the gateway all come through here, so that a feature cannot be read in two
ways. Values arrive as stored (nulls where absent); what leaves has every missing value filled and every
sequence padded.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.spec import ClockSource, ColumnSource, Feature

Arrays = dict[str, np.ndarray]

ARROW_TYPES: dict[str, pa.DataType] = {
    "categorical": pa.string(),
    "numeric": pa.float32(),
    "timestamp": pa.int64(),
    "sequence": pa.list_(pa.string()),
    "embedding": pa.list_(pa.float32()),
    "text": pa.string(),
}
"""How a feature of each kind is stored."""

NUMPY_DTYPES: dict[str, Any] = {
    "categorical": object,
    "numeric": np.float32,
    "timestamp": np.int64,
    "sequence": object,
    "embedding": np.float32,
    "text": object,
}
"""How a model takes a feature of each kind; strings are Python `str` in object arrays."""


def to_arrays(features: Iterable[Feature], table: pa.Table) -> Arrays:
    """Model inputs from a table of stored values.

    Args:
        features: the features wanted, each a column of `table`.
        table: n rows as stored; nulls allowed.

    Returns:
        For each feature an array [n], or [n, length] for sequences (padded with "") and embeddings.
    """
    return {f.name: _to_array(f, table.column(f.name).combine_chunks()) for f in features}


def row_to_arrays(features: Iterable[Feature], row: Mapping[str, Any]) -> Arrays:
    """Model inputs of one row of stored values; the same values as `to_arrays` gives, without Arrow.

    Args:
        features: the features wanted; one that `row` lacks counts as missing.
        row: stored values by feature name; None where absent.

    Returns:
        For each feature an array [1], or [1, length].
    """
    arrays: Arrays = {}
    for feature in features:
        value = row.get(feature.name)
        dtype = NUMPY_DTYPES[feature.kind]
        if feature.kind == "sequence":
            kept = [] if value is None else [str(entry) for entry in value[: feature.length]]
            padded = kept + [""] * ((feature.length or 0) - len(kept))
            arrays[feature.name] = np.array([padded], dtype=object)
        elif feature.kind == "embedding":
            vector = np.zeros(feature.length or 0, np.float32) if value is None else np.asarray(value, np.float32)
            _check_dimension(feature, vector.shape[-1])
            arrays[feature.name] = vector[None, :]
        else:
            arrays[feature.name] = np.array([feature.missing_value if value is None else value], dtype=dtype)
    return arrays


def context_columns(
    features: Iterable[Feature], timestamps: np.ndarray, given: Mapping[str, pa.Array] | None = None
) -> dict[str, pa.Array]:
    """Stored values of context features at given instants.

    Args:
        features: context features.
        timestamps: [n] int64 unix seconds.
        given: context columns that came with the rows or the request, each [n].

    Returns:
        For each feature an Arrow array [n]; nulls where a column was not given.
    """
    seconds = np.asarray(timestamps, np.int64)
    given = given or {}
    columns: dict[str, pa.Array] = {}
    for feature in features:
        arrow_type = ARROW_TYPES[feature.kind]
        source = feature.source
        if isinstance(source, ClockSource):
            # The epoch fell on a Thursday; Monday is 0.
            part = seconds // 3600 % 24 if source.clock == "hour" else (seconds // 86400 + 3) % 7
            columns[feature.name] = pc.cast(pa.array(part), arrow_type)
        elif isinstance(source, ColumnSource) and source.column in given:
            columns[feature.name] = pc.cast(given[source.column], arrow_type)
        else:
            columns[feature.name] = pa.nulls(len(seconds), arrow_type)
    return columns


def _to_array(feature: Feature, column: pa.Array) -> np.ndarray:
    column = pc.cast(column, ARROW_TYPES[feature.kind])
    if feature.kind == "sequence":
        return _pad(feature, column, "", object)
    if feature.kind == "embedding":
        lengths = np.unique(pc.list_value_length(column).drop_null().to_numpy(zero_copy_only=False))
        for length in lengths:
            _check_dimension(feature, int(length))
        return _pad(feature, column, 0.0, np.float32)
    filled = pc.fill_null(column, pa.scalar(feature.missing_value, column.type))
    return filled.to_numpy(zero_copy_only=False).astype(NUMPY_DTYPES[feature.kind], copy=False)


def _pad(feature: Feature, column: pa.ListArray, fill: Any, dtype: Any) -> np.ndarray:
    """[n, length] array of the first `length` entries of each list."""
    width = feature.length or 0
    padded = np.full((len(column), width), fill, dtype=dtype)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    entries = pc.fill_null(column.flatten(), fill).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(column)), lengths)
    places = np.arange(len(entries)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = places < width
    padded[rows[kept], places[kept]] = entries[kept]
    return padded


def _check_dimension(feature: Feature, received: int) -> None:
    if received != feature.length:
        raise ValueError(f"embedding {feature.name} must have dimension {feature.length}. Received: {received}")

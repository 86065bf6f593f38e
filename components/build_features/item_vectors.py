"""The embeddings that items come with: encoded texts, and vectors that a project brings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.text_encoder import TextEncoder, make_encoder
from components.build_features.vector_cache import encode_once
from feature_repo.columns import ARROW_TYPES
from feature_repo.errors import DataError
from feature_repo.files import whole_file
from feature_repo.item_vectors import KEY
from feature_repo.progress import report_progress
from feature_repo.spec import ColumnSource, Feature, FeatureSpec, TextSource


def write_item_vectors(
    spec: FeatureSpec, items: Path, path: Path, kept: Path, make: Callable[[str], TextEncoder] = make_encoder
) -> int:
    """Writes one row an item with the features of `FeatureSpec.vectors`.

    Args:
        spec: the feature spec.
        items: the items table.
        path: of the Parquet file to write; see `feature_repo.item_vectors`.
        kept: folder of vectors that earlier runs made of texts.
        make: the encoder of a name.

    Returns:
        How many texts were encoded.

    Raises:
        DataError: a column is missing, or does not hold vectors of the declared dimension.
        ConfigError: the encoder cannot be loaded.
    """
    table = pq.read_table(items)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {KEY: table.column(KEY)}
    encoded = 0
    for feature in spec.vectors():
        if isinstance(feature.source, TextSource):
            columns[feature.name], new = _encode(feature, feature.source, table, kept, make(feature.source.model))
            encoded += new
        elif isinstance(feature.source, ColumnSource):
            columns[feature.name] = _take(feature, feature.source.column, table)
    with whole_file(path) as partial:
        pq.write_table(pa.table(columns), partial)
    return encoded


def item_texts(table: pa.Table, columns: tuple[str, ...]) -> list[str]:
    """One text an item: the columns' values, lists joined by commas, one after another; empty where there is none."""
    parts = []
    for name in columns:
        values = table.column(name).to_pylist()
        parts.append([", ".join(map(str, value)) if isinstance(value, list) else str(value or "") for value in values])
    return [". ".join(part.strip() for part in row if part.strip()) for row in zip(*parts, strict=True)]


def _encode(
    feature: Feature, source: TextSource, table: pa.Table, kept: Path, encoder: TextEncoder
) -> tuple[pa.Array, int]:
    for column in source.embed:
        _check_present(feature, column, table)
    texts = item_texts(table, source.embed)
    vectors, new = encode_once(encoder, texts, kept)
    distinct = len(set(texts))
    report_progress(f"{distinct:,} texts of {' and '.join(source.embed)}: {distinct - new:,} kept, {new:,} encoded")
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * encoder.dimension
    values = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel(), pa.float32()))
    # What says nothing has no direction: it is absent, not the vector of the empty text.
    present = pa.array([bool(text) for text in texts])
    return pc.if_else(present, values, pa.scalar(None, values.type)), new


def _take(feature: Feature, column: str, table: pa.Table) -> pa.ChunkedArray:
    _check_present(feature, column, table)
    try:
        values = table.column(column).cast(ARROW_TYPES["embedding"])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        received = table.column(column).type
        raise DataError(
            f"feature `{feature.name}` is a vector, but column `{column}` of items is not. Received: {received}. "
            f"Set `ingest.items.columns.{column}.type` to vector."
        ) from error
    lengths = pc.unique(pc.drop_null(pc.list_value_length(values))).to_pylist()
    for length in lengths:
        if length != feature.length:
            raise DataError(
                f"feature `{feature.name}` has length {feature.length}, but column `{column}` of items holds vectors "
                f"of length {length}. Mend `length`, or the column."
            )
    return values


def _check_present(feature: Feature, column: str, table: pa.Table) -> None:
    if column not in table.column_names:
        raise DataError(
            f"feature `{feature.name}` takes column `{column}`, which items do not have. Received: "
            f"{', '.join(table.column_names)}. Map it under `ingest.items.columns`, or remove the feature."
        )

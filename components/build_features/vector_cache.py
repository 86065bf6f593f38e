"""Vectors of texts, kept from run to run: a text is encoded once."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.build_features.text_encoder import TextEncoder
from feature_repo.errors import DataError
from feature_repo.files import whole_file


def encode_once(encoder: TextEncoder, texts: Sequence[str], folder: Path) -> tuple[np.ndarray, int]:
    """Vectors of texts; what an earlier run encoded is read.

    Args:
        encoder: asked only for what is not kept yet.
        texts: n texts.
        folder: of the kept vectors; one Parquet file an encoder, keyed by the SHA-256 of its name and the text.

    Returns:
        [n, dimension] float32, and how many distinct texts were encoded.

    Raises:
        DataError: the file of kept vectors cannot be read.
    """
    path = folder / f"{encoder.name}.parquet"
    keys = [hashlib.sha256(f"{encoder.name}\x00{text}".encode()).hexdigest() for text in texts]
    asked = pa.array(keys, pa.string())
    known, vectors = _read(path, encoder.dimension)
    absent = pc.is_null(pc.index_in(asked, value_set=known)).to_numpy(zero_copy_only=False)
    new = {keys[place]: texts[place] for place in np.flatnonzero(absent)}
    if new:
        vectors = np.concatenate([vectors, encoder.encode(list(new.values()))])
        known = pa.concat_arrays([known, pa.array(list(new), pa.string())])
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), encoder.dimension)
        with whole_file(path) as partial:
            pq.write_table(pa.table({"key": known, "vector": values}), partial)
    return vectors[pc.index_in(asked, value_set=known).to_numpy(zero_copy_only=False)], len(new)


def _read(path: Path, dimension: int) -> tuple[pa.Array, np.ndarray]:
    """Keys [k] and vectors [k, dimension] that are kept."""
    if not path.is_file():
        return pa.array([], pa.string()), np.empty((0, dimension), np.float32)
    try:
        kept = pq.read_table(path)
        flat = kept.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return kept.column("key").combine_chunks(), flat.reshape(-1, dimension)
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} does not hold vectors of texts ({reason}). Remove it: it is made anew") from error

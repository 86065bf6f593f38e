"""Preprocessing of raw features: from what requests carry to numbers and indices.

It is part of every SavedModel, and it is run once over the training rows before an epoch starts, so that training
steps see only numbers. Both go through `Preprocessing.__call__`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.errors import ConfigError
from feature_repo.spec import Elapsed, Feature, Hashing, Identity, Log, Standardise, Tokens, Vocabulary
from trainer.vocabularies import Moments

MAX_TOKENS = 12
"""Words of a text that are read."""

ENCODE_ROWS = 16_384
"""Rows that are preprocessed at a time before training."""

NO_VALUE = "\x1f"
"""Stands in an empty vocabulary; a trailing zero byte would be stripped by NumPy."""

FIRST_KNOWN = 2
"""Smallest index of a vocabulary that means one value: 0 is "nothing", 1 stands for all that are unknown."""

Encoded = dict[str, tf.Tensor]

TENSOR_DTYPES: dict[str, tf.DType] = {
    "categorical": tf.string,
    "numeric": tf.float32,
    "timestamp": tf.int64,
    "sequence": tf.string,
    "embedding": tf.float32,
    "text": tf.string,
}
"""How a feature of each kind enters a SavedModel."""


class Preprocessing:
    """Keras preprocessing layers of a model's inputs, made from the feature spec.

    Strings become int32 indices: 0 is "nothing" (the empty string), then for vocabularies 1 is "unknown". Numbers
    become float32, standardised where the spec says so.

    Args:
        features: inputs of the model.
        vocabularies: known values by owner, as of `learn_vocabularies`.
        moments: as of `learn_moments`.

    Raises:
        ConfigError: if a feature shares the vocabulary of one that was not learned.
    """

    def __init__(self, features: Iterable[Feature], vocabularies: Mapping[str, list[str]], moments: Moments) -> None:
        self.features = tuple(features)
        self.moments = dict(moments)
        self.vocabularies: dict[str, list[str]] = {}
        self.sizes: dict[str, int] = {}
        self.lookups: dict[str, tf.keras.layers.Layer] = {}
        self._moments = {name: (np.float32(mean), np.float32(deviation)) for name, (mean, deviation) in moments.items()}
        for feature in self.features:
            owner = table_of(feature)
            if owner is None or owner in self.lookups:
                continue
            transform = feature.transform
            if isinstance(transform, Vocabulary):
                if owner not in vocabularies:
                    raise ConfigError(
                        f"feature {feature.name} takes the vocabulary of {owner!r}, which the model does not take: "
                        f"add the stage to `used_by` of {owner!r} or give {feature.name} a vocabulary of its own"
                    )
                # The lookup needs at least one value; an empty vocabulary knows only what no request can carry.
                known = vocabularies[owner] or [NO_VALUE]
                self.lookups[owner] = tf.keras.layers.StringLookup(vocabulary=known, mask_token="")
                self.vocabularies[owner] = known
                self.sizes[owner] = len(known) + FIRST_KNOWN
            elif isinstance(transform, Hashing | Tokens):
                self.lookups[owner] = tf.keras.layers.Hashing(num_bins=transform.buckets + 1, mask_value="")
                self.sizes[owner] = transform.buckets + 1

    def __call__(self, raw: Mapping[str, tf.Tensor], timestamp: tf.Tensor | None = None) -> Encoded:
        """Encodes those of the model's inputs that `raw` holds.

        Args:
            raw: [n] or [n, length] each, of `TENSOR_DTYPES`.
            timestamp: int64 unix seconds of the request, of a shape that fits; needed for spans of time.

        Returns:
            By feature name: int32 [n] or [n, length] for strings, float32 otherwise.
        """
        held = [feature for feature in self.features if feature.name in raw]
        return {feature.name: self._encode_one(feature, raw[feature.name], timestamp) for feature in held}

    def encode(self, arrays: Arrays, timestamps: np.ndarray | None = None) -> Arrays:
        """Encodes whole columns outside any graph; the same values as `__call__` gives."""
        held = [feature for feature in self.features if feature.name in arrays]
        if not held:
            return {}
        rows = len(arrays[held[0].name])
        parts = []
        for start in range(0, max(rows, 1), ENCODE_ROWS):
            here = slice(start, start + ENCODE_ROWS)
            raw = to_tensors(held, {f.name: arrays[f.name][here] for f in held})
            at = None if timestamps is None else tf.constant(timestamps[here], tf.int64)
            parts.append({name: tensor.numpy() for name, tensor in self(raw, at).items()})
        return {f.name: np.concatenate([part[f.name] for part in parts]) for f in held}

    def unknown_index(self, table: str) -> int:
        """The index that stands for a value which training did not see; of a hashed table that of "nothing"."""
        return 1 if table in self.vocabularies else 0

    @property
    def resources(self) -> list[object]:
        """Lookup tables that a SavedModel must carry."""
        return [lookup.lookup_table for lookup in self.lookups.values() if hasattr(lookup, "lookup_table")]

    def _encode_one(self, feature: Feature, value: tf.Tensor, timestamp: tf.Tensor | None) -> tf.Tensor:
        transform = feature.transform
        owner = table_of(feature)
        if owner is not None:
            words = _tokenise(value) if isinstance(transform, Tokens) else value
            return tf.cast(self.lookups[owner](words), tf.int32)
        if isinstance(transform, Elapsed):
            if timestamp is None:
                raise ConfigError(
                    f"item feature {feature.name} is a span of time, which item embeddings cannot know: "
                    "set its used_by to [ranking]"
                )
            cap = int(transform.cap_days * 86_400)
            elapsed = tf.clip_by_value(timestamp - value, 0, cap)
            value = tf.math.log1p(tf.cast(tf.where(value > 0, elapsed, cap), tf.float32))
        elif isinstance(transform, Log):
            value = tf.math.log1p(tf.maximum(tf.cast(value, tf.float32), 0.0))
        elif isinstance(transform, Standardise | Identity):
            value = tf.cast(value, tf.float32)
        if feature.name in self._moments:
            mean, deviation = self._moments[feature.name]
            value = (value - mean) / deviation
        return value


def table_of(feature: Feature) -> str | None:
    """Name of the feature whose table of embeddings this one reads; None for numbers."""
    transform = feature.transform
    if isinstance(transform, Vocabulary):
        return transform.of or feature.name
    return feature.name if isinstance(transform, Hashing | Tokens) else None


def to_tensors(features: Iterable[Feature], arrays: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Model inputs as tensors of `TENSOR_DTYPES`."""
    return {f.name: tf.constant(arrays[f.name], TENSOR_DTYPES[f.kind]) for f in features}


def input_signature(features: Iterable[Feature], rows: int | None) -> dict[str, tf.TensorSpec]:
    """Signature of raw inputs.

    Args:
        features: inputs of the model.
        rows: size of the first axis; None for any.
    """
    return {
        f.name: tf.TensorSpec([rows] if f.length is None else [rows, f.length], TENSOR_DTYPES[f.kind], name=f.name)
        for f in features
    }


def _tokenise(text: tf.Tensor) -> tf.Tensor:
    """Words of each text, [n] -> [n, MAX_TOKENS], padded with the empty string."""
    plain = tf.strings.regex_replace(tf.strings.lower(text, encoding="utf-8"), r"[^\pL\pN\s]+", "")
    return tf.strings.split(plain).to_tensor(default_value="", shape=[None, MAX_TOKENS])

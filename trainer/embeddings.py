"""From encoded features to vectors: tables of embeddings and the pooling of histories."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from feature_repo.spec import Feature
from trainer.inputs import Encoded, table_of

DENSE_TABLE_ROWS = 200_000
"""Tables up to this size take dense gradient updates, which are faster there than sparse ones."""


class EmbeddingTables(tf.keras.layers.Layer):
    """One table of embeddings for every vocabulary, shared by the features that read it.

    Args:
        sizes: rows of each table, as of `Preprocessing.sizes`.
        key: table of the item ids.
        key_dimension: its dimension.
        dimension: that of the others.
        seed: of the first weights.
    """

    def __init__(self, sizes: Mapping[str, int], key: str, key_dimension: int, dimension: int, seed: int = 0) -> None:
        super().__init__()
        self.tables = {}
        for place, (name, size) in enumerate(sorted(sizes.items())):
            self.tables[name] = tf.keras.layers.Embedding(
                size,
                key_dimension if name == key else dimension,
                embeddings_initializer=tf.keras.initializers.RandomNormal(stddev=0.05, seed=seed + place),
                name=f"{name}_embedding",
            )

    def lookup(self, feature: Feature, indices: tf.Tensor) -> tf.Tensor:
        """Embeddings [..., dimension] of a feature's indices [...]."""
        return self.tables[str(table_of(feature))](indices)

    def mean(self, feature: Feature, indices: tf.Tensor) -> tf.Tensor:
        """Mean embedding [..., dimension] of a set of values [..., length]; zeros where there is none."""
        present = tf.cast(indices > 0, tf.float32)[..., None]
        total = tf.reduce_sum(self.lookup(feature, indices) * present, axis=-2)
        return total / tf.maximum(tf.reduce_sum(present, axis=-2), 1.0)

    def dense(self, features: Iterable[Feature], encoded: Encoded) -> tf.Tensor:
        """All features side by side in one vector [..., width]."""
        parts = []
        for feature in features:
            value = encoded[feature.name]
            if feature.kind == "categorical":
                parts.append(self.lookup(feature, value))
            elif feature.kind in ("sequence", "text"):
                parts.append(self.mean(feature, value))
            elif feature.kind == "embedding":
                parts.append(value)
            else:
                parts.append(value[..., None])
        return tf.concat(parts, axis=-1)


class HistoryPooling(tf.keras.layers.Layer):
    """Weighted sums of a history, each with its own learned weight for every position.

    Starts as exponential forgetting at several speeds, from mostly the newest entry to all entries alike. Each sum
    is divided by the square root of its total weight: more history gives a longer vector, though not in proportion.

    Args:
        length: most entries of the history, newest first.
        pools: how many sums.
    """

    def __init__(self, length: int, pools: int) -> None:
        super().__init__()
        decays = [1.0 - 0.5 ** (place + 1) for place in range(pools - 1)] + [1.0]
        start = np.stack([np.power(decay, np.arange(length)) for decay in decays], axis=1)
        self.weight = self.add_weight(
            name="position_weight", shape=(length, pools), initializer=tf.keras.initializers.Constant(start)
        )

    def call(self, entries: tf.Tensor, present: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Pools histories.

        Args:
            entries: [n, length, dimension] embeddings, newest first.
            present: [n, length] bool, False for padding.
            training: makes no difference; encoders of histories are called alike.

        Returns:
            [n, pools, dimension]; zeros for an empty history.
        """
        weights = self.weight[None] * tf.cast(present, tf.float32)[..., None]
        total = tf.reduce_sum(tf.abs(weights), axis=1)[..., None]
        return tf.matmul(weights, entries, transpose_a=True) / tf.sqrt(total + 1e-6)


def histories(features: Iterable[Feature], key: str) -> tuple[Feature, ...]:
    """Sequences of the ids that the table `key` holds: what a user did, as against sets of attributes."""
    return tuple(f for f in features if f.kind == "sequence" and table_of(f) == key)


def apply_gradients(
    optimizer: tf.keras.optimizers.legacy.Optimizer,
    tape: tf.GradientTape,
    loss: tf.Tensor,
    variables: list[tf.Variable],
) -> None:
    """One step of the optimiser; small tables are updated densely."""
    pairs = []
    for gradient, variable in zip(tape.gradient(loss, variables), variables, strict=True):
        if gradient is None:
            continue
        small = variable.shape[0] <= DENSE_TABLE_ROWS if variable.shape.rank else True
        if isinstance(gradient, tf.IndexedSlices) and small:
            gradient = tf.convert_to_tensor(gradient)
        pairs.append((gradient, variable))
    optimizer.apply_gradients(pairs)

"""SASRec: self-attention over what the user did, in its strong form.

The original's one negative a position with binary cross-entropy makes it overconfident; here every position is a
softmax over the whole catalogue, with which the same network is known to do far better.
"""

import time
from typing import Any

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Log, Phase, Problem
from tests.benchmarks.quality.ranks import ndcg_at_k, ranks_of_pairs

EPOCHS_BETWEEN_LOOKS = 4
PATIENCE = 3
"""Looks without a better validation NDCG@10 before training stops."""


def windows(log: Log, length: int, positives_only: bool) -> tuple[np.ndarray, np.ndarray]:
    """Training sequences: each user's interactions cut from the newest back into windows that overlap by one.

    Args:
        log: ordered by time.
        length: inputs of a window.
        positives_only: whether only positives are in the sequences.

    Returns:
        [windows, length + 1] items from 1 on, 0 for padding in front; and [windows, length + 1] bool, whether each
        was a positive.
    """
    rows = np.flatnonzero(log.positives) if positives_only else np.arange(len(log))
    rows = rows[np.argsort(log.users[rows], kind="stable")]
    _, starts = np.unique(log.users[rows], return_index=True)
    items, positives = [], []
    for own in np.split(rows, starts[1:]):
        end = len(own)
        while end > 1:
            part = own[max(0, end - length - 1) : end]
            padding = length + 1 - len(part)
            items.append(np.pad(log.items[part] + 1, (padding, 0)))
            positives.append(np.pad(log.positives[part], (padding, 0)))
            end -= length
    return np.array(items, np.int32), np.array(positives, bool)


def history_windows(phase: Phase, length: int, positives_only: bool) -> tuple[np.ndarray, np.ndarray]:
    """[moments, length] items from 1 on (0 is padding, in front) and whether each was a positive."""
    items = np.zeros((len(phase.users), length), np.int32)
    positives = np.zeros((len(phase.users), length), bool)
    for moment in range(len(phase.users)):
        rows = phase.history_rows[phase.history_starts[moment] : phase.history_starts[moment + 1]]
        if positives_only:
            rows = rows[phase.visible.positives[rows]]
        rows = rows[-length:]
        if len(rows):
            items[moment, -len(rows) :] = phase.visible.items[rows] + 1
            positives[moment, -len(rows) :] = phase.visible.positives[rows]
    return items, positives


def make_network(items: int, params: Params) -> Any:
    """The network: (items [n, length], positives [n, length]) to states [n, length, dimension]; and its item table."""
    import trainer  # noqa: F401  (chooses Keras 2)

    import tensorflow as tf  # isort: skip

    dimension, length, rate = params["dimension"], params["length"], params["dropout"]

    class Network(tf.keras.Model):
        def __init__(self) -> None:
            super().__init__()
            start = tf.keras.initializers.TruncatedNormal(stddev=0.02, seed=1)
            self.items = tf.keras.layers.Embedding(items + 1, dimension, embeddings_initializer=start)
            self.places = tf.keras.layers.Embedding(length, dimension, embeddings_initializer=start)
            self.outcomes = tf.keras.layers.Embedding(2, dimension, embeddings_initializer=start)
            self.dropout = tf.keras.layers.Dropout(rate)
            self.blocks = [
                {
                    "before_attention": tf.keras.layers.LayerNormalization(epsilon=1e-6),
                    "attention": tf.keras.layers.MultiHeadAttention(
                        params["heads"], dimension // params["heads"], dropout=rate
                    ),
                    "before_dense": tf.keras.layers.LayerNormalization(epsilon=1e-6),
                    "inner": tf.keras.layers.Dense(4 * dimension, activation="gelu"),
                    "outer": tf.keras.layers.Dense(dimension),
                }
                for _ in range(params["blocks"])
            ]
            self.last = tf.keras.layers.LayerNormalization(epsilon=1e-6)

        def call(self, ids: tf.Tensor, outcomes: tf.Tensor, training: bool = False) -> tf.Tensor:
            x = self.items(ids) * dimension**0.5 + self.places(tf.range(length))[None]
            x = x + self.outcomes(tf.cast(outcomes, tf.int32))
            x = self.dropout(x, training=training)
            present = ids > 0
            # Padding looks at itself, so that no row of the softmax is empty.
            causal = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)
            mask = causal[None] & (present[:, None, :] | tf.eye(length, dtype=tf.bool)[None])
            for block in self.blocks:
                normal = block["before_attention"](x)
                x += self.dropout(
                    block["attention"](normal, normal, attention_mask=mask, training=training), training=training
                )
                inner = self.dropout(block["inner"](block["before_dense"](x)), training=training)
                x += self.dropout(block["outer"](inner), training=training)
            return self.last(x)

    return Network()


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    import trainer  # noqa: F401

    import tensorflow as tf  # isort: skip

    tf.keras.utils.set_random_seed(1)
    begun = time.perf_counter()
    only = params["inputs"] == "positives"
    network = make_network(problem.items, params)
    ids, outcomes = (tf.constant(values) for values in windows(phase.log, params["length"], only))
    optimizer = tf.keras.optimizers.legacy.Adam(params["learning_rate"], beta_2=0.98)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch: tf.Tensor) -> tf.Tensor:
        sequence, positive = tf.gather(ids, batch), tf.gather(outcomes, batch)
        # What is asked for are positives, after whatever came before.
        asked = tf.where((sequence[:, 1:] > 0) & (sequence[:, :-1] > 0) & positive[:, 1:])
        with tf.GradientTape() as tape:
            states = tf.gather_nd(network(sequence[:, :-1], positive[:, :-1], training=True), asked)
            logits = tf.matmul(states, network.items.embeddings[1:], transpose_b=True)
            targets = tf.gather_nd(sequence[:, 1:], asked) - 1
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        variables = network.trainable_variables
        gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, variables)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    @tf.function(autograph=False, reduce_retracing=True)
    def score(known: tf.Tensor, positive: tf.Tensor) -> tf.Tensor:
        return tf.matmul(network(known, positive)[:, -1], network.items.embeddings[1:], transpose_b=True)

    asked_ids, asked_outcomes = history_windows(phase, params["length"], only)

    def ranks() -> np.ndarray:
        return ranks_of_pairs(
            phase, lambda part: score(tf.constant(asked_ids[part]), tf.constant(asked_outcomes[part])).numpy()
        )

    generator = np.random.default_rng(1)
    best, best_epoch, best_ranks = -1.0, 0, None
    for epoch in range(1, (found or {"epochs": params["epochs"]})["epochs"] + 1):
        order = generator.permutation(len(ids)).astype(np.int32)
        for start in range(0, len(order), params["batch_size"]):
            step(tf.constant(order[start : start + params["batch_size"]]))
        if found is None and epoch % EPOCHS_BETWEEN_LOOKS == 0:
            now = ranks()
            value = float(ndcg_at_k(now, phase.pair_queries, 10).mean())
            if value > best:
                best, best_epoch, best_ranks = value, epoch, now
            elif epoch - best_epoch >= PATIENCE * EPOCHS_BETWEEN_LOOKS:
                break
    seconds = time.perf_counter() - begun
    if best_ranks is None:
        best_epoch, best_ranks = epoch, ranks()
    return Answer({"SASRec": best_ranks}, seconds, {"epochs": best_epoch})


SASREC = Contestant(
    "SASRec",
    _answer,
    {
        "length": 50,
        "dimension": 64,
        "blocks": 2,
        "heads": 2,
        "dropout": 0.3,
        "learning_rate": 0.001,
        "batch_size": 32,
        "epochs": 60,
        "inputs": "all",
    },
    {
        "length": (50, 100, 200),
        "dimension": (32, 64, 128),
        "blocks": (1, 2),
        "heads": (1, 2, 4),
        "dropout": (0.2, 0.3, 0.5),
        "learning_rate": (0.0005, 0.001, 0.002),
        "batch_size": (32, 64, 128),
        "inputs": ("all", "positives"),
    },
)

"""Training of the neural rankers."""

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from feature_repo.progress import report_progress
from trainer.config import RankingConfig
from trainer.embeddings import apply_gradients
from trainer.epochs import train_epochs
from trainer.feed import Feed, Nested
from trainer.impressions import ImpressionLists, candidates
from trainer.rankers.neural import NeuralRanker
from trainer.ranking_losses import LOSSES, within_users
from trainer.selection import Selection
from trainer.two_tower import ITEM_KEY
from trainer.warm_start import Parent, load_weights

Step = Callable[[Nested], tf.Tensor]

LIKING_BATCHES = 2
"""How many times as large batches are while the liking head is trained alone."""


def train_network(
    network: NeuralRanker,
    config: RankingConfig,
    lists: ImpressionLists,
    feed: Feed,
    batch_size: int,
    selection: Selection,
    parent: Parent | None = None,
) -> None:
    """Trains both heads together, until candidates are ordered best; then the liking head alone, until it is best.

    The two are at their best after different numbers of epochs. Since liking sends no gradient into what the heads
    share, training it on changes nothing about finding, and costs little: it needs no sampled items.

    Args:
        network: the ranker; left as of its best epochs.
        config: section `ranking`.
        lists: makes lists of candidates out of impressions.
        feed: of the training rows, prepared by `lists`.
        batch_size: impressions a step.
        selection: of the validation rows.
        parent: whose weights training starts from.

    Raises:
        ConfigError: if the parent is of another configuration.
    """
    generator = np.random.default_rng(config.seed)

    def epoch(step: Step, rows: int) -> Callable[[int], float]:
        # No stretches of time: the sampled items are as of each impression's own instant.
        return lambda _: float(np.mean([step(batch) for batch in feed.batches(rows, None, generator)]))

    together = _step(network, config, lists, alone=False)
    # Building the layers needs one pass; only then do the variables exist.
    together(next(feed.batches(batch_size, None, np.random.default_rng(config.seed))))
    if parent is not None:
        content = partial(_embed_content, network, lists) if network.attribute_features else None
        report_progress(load_weights(network, lists.preprocessing, parent, ITEM_KEY, content))
    train_epochs(
        epoch(together, batch_size),
        lambda: selection.best_weights()[1],
        network.trainable_variables,
        config.epochs,
        config.patience,
        "ndcg@100",
    )
    if config.liking_epochs:
        train_epochs(
            # Pairs of impressions of one user grow with the square of a batch.
            epoch(_step(network, config, lists, alone=True), LIKING_BATCHES * batch_size),
            selection.liking_quality,
            network.liking.trainable_variables,
            config.liking_epochs,
            config.patience,
            "auc (mean of all users' and each user's)",
            start=selection.liking_quality(),
        )


def _embed_content(network: NeuralRanker, lists: ImpressionLists) -> tuple[np.ndarray, np.ndarray]:
    """Ids [m] of all items and their embedded attributes [m, width]."""
    return lists.catalogue.item_ids, network.embedding.dense(network.attribute_features, lists.attributes()).numpy()


def _step(network: NeuralRanker, config: RankingConfig, lists: ImpressionLists, alone: bool) -> Step:
    """A training step of both heads, or of the liking head alone."""
    attributes = lists.attributes()
    optimizer = tf.keras.optimizers.legacy.Adam(config.liking_learning_rate if alone else config.learning_rate)
    finding_loss = LOSSES[config.loss]

    def liking_loss(liking: tf.Tensor, batch: Nested) -> tf.Tensor:
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(batch["label"], liking))
        if config.within_users:
            loss += config.within_users * within_users(liking, batch["label"], batch["user"])
        return loss

    @tf.function(autograph=False, reduce_retracing=True)
    def together(batch: Nested) -> tf.Tensor:
        with tf.GradientTape() as tape:
            query = network.query_side(batch["query"], training=True)
            logits = network.logits(query, network.item_side(candidates(batch, attributes)), training=True)
            loss = finding_loss(logits.finding, lists.found(batch), batch["usable"])
            loss += liking_loss(logits.liking[:, 0], batch)
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    @tf.function(autograph=False, reduce_retracing=True)
    def liking(batch: Nested) -> tf.Tensor:
        shown = {name: values[:, :1] for name, values in batch["items"].items()}
        items = network.item_side(candidates({**batch, "codes": batch["codes"][:, :1], "items": shown}, attributes))
        # What the heads share stands still; only units of the liking network are dropped.
        query = network.query_side(batch["query"])
        with tf.GradientTape() as tape:
            loss = liking_loss(network.liking_logits(query, items, training=True)[:, 0], batch)
        apply_gradients(optimizer, tape, loss, network.liking.trainable_variables)
        return loss

    return liking if alone else together

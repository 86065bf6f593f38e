"""Training of the ranker."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from trainer.calibration import Calibration, fit_calibration, fit_platt
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.embeddings import apply_gradients
from trainer.engagements import Engagements
from trainer.epochs import train_epochs
from trainer.examples import ExampleFile
from trainer.feed import Feed, Nested, count_items, learn_preprocessing
from trainer.impressions import ImpressionLists, candidates
from trainer.inputs import Encoded, Preprocessing
from trainer.metrics import area_under_roc
from trainer.negatives import RetrievedNegatives
from trainer.rankers.boosted_trees import BoostedTreesRanker, fit_trees
from trainer.rankers.interface import Ranker
from trainer.rankers.making import make_ranker
from trainer.ranking_losses import LOSSES, within_users
from trainer.scoring import Towers
from trainer.selection import Selection, Weights

ROWS_AT_ONCE = 8192
"""Impressions whose columns for boosted trees are made together."""


@dataclass(frozen=True)
class RankingModel:
    """A trained ranker.

    Attributes:
        preprocessing: of its inputs.
        network: gives the logits of finding and liking.
        weights: of the final logit, by which candidates are ordered; chosen on validation queries.
        score_calibration: of the final logit, fitted on validation impressions.
        liking_calibration: of the liking head alone, fitted on the same.
        validation_ndcg: NDCG@100 on the validation queries with those weights.
        validation_auc: of the liking head on the validation impressions.
    """

    preprocessing: Preprocessing
    network: Ranker
    weights: Weights
    score_calibration: Calibration
    liking_calibration: Calibration
    validation_ndcg: float
    validation_auc: float


def train_ranking(
    spec: FeatureSpec,
    config: RankingConfig,
    train: ExampleFile,
    validation: ExampleFile,
    catalogue: Catalogue,
    towers: Towers,
) -> RankingModel:
    """Trains the ranker on impressions and sampled items.

    Args:
        spec: the feature spec.
        config: section `ranking`.
        train: training rows.
        validation: rows on which the epoch, the retrieval score's weight and the calibration are chosen.
        catalogue: items with the features that ranking or retrieval takes.
        towers: the exported retrieval model.
    """
    tf.keras.utils.set_random_seed(config.seed)
    preprocessing = learn_preprocessing(spec, "ranking", train)
    network = make_ranker(spec, preprocessing, config)
    counts = count_items(train, catalogue, positives_only=False)
    engagements = Engagements.read((train.path,), catalogue.item_ids)
    drawing = config.sampled_negatives
    retrieved = None
    read = [*network.query_features, *catalogue.dynamic_among(network.item_features)]
    if drawing.number and drawing.from_retrieval:
        retrieved = RetrievedNegatives(spec, catalogue, towers, engagements, drawing.retrieval_depth)
        read += spec.request_inputs("retrieval")
    lists = ImpressionLists(spec, config, preprocessing, network, catalogue, counts, engagements, retrieved)
    rows = train.with_features(read)
    selection = Selection(spec, config, preprocessing, network, train, validation, catalogue, towers)
    if isinstance(network, BoostedTreesRanker):
        _train_trees(network, config, lists, rows)
    else:
        batch_size = min(config.batch_size, int(counts.sum()))
        _train_network(network, config, lists, Feed(rows, lists.prepare), batch_size, selection)
    weights, ndcg = selection.best_weights()
    finding, liking, retrieval = selection.impression_logits()
    labels = selection.impression_labels
    return RankingModel(
        preprocessing,
        network,
        weights,
        score_calibration=fit_platt(weights.combine(finding, liking, retrieval), labels),
        liking_calibration=fit_calibration(config.calibration, liking, labels),
        validation_ndcg=ndcg,
        validation_auc=area_under_roc(labels, liking),
    )


def _train_network(
    network: Ranker, config: RankingConfig, lists: ImpressionLists, feed: Feed, batch_size: int, selection: Selection
) -> None:
    step = _make_step(network, config, lists)
    generator = np.random.default_rng(config.seed)

    def run_epoch(_: int) -> float:
        # No stretches of time: the sampled items are as of each impression's own instant.
        batches = feed.batches(batch_size, None, generator)
        return float(np.mean([step(batch) for batch in batches]))

    # Building the layers needs one pass; only then do the variables exist.
    step(next(feed.batches(batch_size, None, np.random.default_rng(config.seed))))
    train_epochs(
        run_epoch,
        lambda: selection.best_weights()[1],
        network.trainable_variables,
        config.epochs,
        config.patience,
        "ndcg@100",
    )


def _make_step(network: Ranker, config: RankingConfig, lists: ImpressionLists) -> Callable[[Nested], tf.Tensor]:
    """One training step for a batch of impressions, each with its sampled items beside it."""
    attributes = lists.attributes()
    optimizer = tf.keras.optimizers.legacy.Adam(config.learning_rate)
    finding_loss = LOSSES[config.loss]

    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch: Nested) -> tf.Tensor:
        items = candidates(batch, attributes)
        with tf.GradientTape() as tape:
            query = network.query_side(batch["query"], training=True)
            logits = network.logits(query, network.item_side(items), training=True)
            liking = logits.liking[:, 0]
            loss = finding_loss(logits.finding, lists.found(batch), batch["usable"])
            loss += tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(batch["label"], liking))
            if config.within_users:
                loss += config.within_users * within_users(liking, batch["label"], batch["user"])
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    return step


def _train_trees(
    network: BoostedTreesRanker, config: RankingConfig, lists: ImpressionLists, train: ExampleFile
) -> None:
    """Trains both ensembles on a sample of the impressions that fits in memory."""
    attributes = lists.attributes()
    share = min(1.0, config.boosted_trees.most_rows / max(len(train), 1))
    rows, found, usable, labels = [], [], [], []
    for number, part in enumerate(train.each()):
        generator = np.random.default_rng([config.seed, number])
        kept = part if share == 1.0 else part.take(generator.random(len(part)) < share)
        batch = tf.nest.map_structure(tf.constant, lists.prepare(kept, number))
        rows.append(_tree_rows(network, batch, attributes))
        found.append(lists.found(batch).numpy())
        usable.append(batch["usable"].numpy() > 0)
        labels.append(batch["label"].numpy())
    columns, mask, wanted = np.concatenate(rows), np.concatenate(usable), np.concatenate(found)
    trees = config.boosted_trees
    counts = mask.sum(axis=1) if trees.objective == "lambdarank" else None
    categorical = network.categorical_columns
    report_progress(f"{mask.sum():,} rows of {columns.shape[2]} columns")
    finding = fit_trees(columns[mask], wanted[mask], categorical, counts, trees, config.seed)
    liking = fit_trees(columns[:, 0], np.concatenate(labels), categorical, None, trees, config.seed)
    network.ensembles = [finding, liking]


def _tree_rows(network: BoostedTreesRanker, batch: Nested, attributes: Encoded) -> np.ndarray:
    count = len(batch["label"])
    parts = []
    for start in range(0, count, ROWS_AT_ONCE):
        some = tf.nest.map_structure(lambda values, at=start: values[at : at + ROWS_AT_ONCE], batch)
        items = network.item_side(candidates(some, attributes))
        parts.append(network.rows(network.query_side(some["query"]), items).numpy())
    return np.concatenate(parts)

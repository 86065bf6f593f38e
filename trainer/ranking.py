"""Training of the ranker."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.spec import FeatureSpec
from trainer.calibration import fit_platt
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.dcn import DeepCrossRanker
from trainer.embeddings import apply_gradients
from trainer.engagements import Engagements
from trainer.epochs import train_epochs
from trainer.examples import Examples
from trainer.inputs import Preprocessing
from trainer.metrics import area_under_roc
from trainer.negatives import sample_negatives
from trainer.scoring import Towers
from trainer.selection import Selection, Weights
from trainer.vocabularies import learn_moments, learn_vocabularies


@dataclass(frozen=True)
class RankingModel:
    """A trained ranker.

    Attributes:
        preprocessing: of its inputs.
        network: gives the logits of finding and liking.
        weights: of the final logit, by which candidates are ordered; chosen on validation queries.
        score_calibration: slope and intercept for the final logit, fitted on validation impressions.
        liking_calibration: the same for the liking head alone.
        validation_ndcg: NDCG@100 on the validation queries with those weights.
        validation_auc: of the liking head on the validation impressions.
    """

    preprocessing: Preprocessing
    network: DeepCrossRanker
    weights: Weights
    score_calibration: tuple[float, float]
    liking_calibration: tuple[float, float]
    validation_ndcg: float
    validation_auc: float


def train_ranking(
    spec: FeatureSpec,
    config: RankingConfig,
    train: Examples,
    validation: Examples,
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
    query_features, item_features = spec.request_inputs("ranking"), spec.inputs("item", "ranking")
    features = (*query_features, *item_features)
    rows = train.arrays(features)
    preprocessing = Preprocessing(
        features, learn_vocabularies(features, rows), learn_moments(features, rows, train.seconds)
    )
    network = DeepCrossRanker(query_features, item_features, preprocessing.sizes, config)
    generator = np.random.default_rng(config.seed)
    step = _make_step(network, preprocessing, config, train, rows, catalogue, generator)

    def run_epoch(_: int) -> float:
        batch_size = min(config.batch_size, len(train))
        order = generator.permutation(len(train)).astype(np.int32)
        starts = range(0, len(order) - batch_size + 1, batch_size)
        return float(np.mean([step(tf.constant(order[start : start + batch_size])) for start in starts]))

    selection = Selection(spec, config, preprocessing, network, train, validation, catalogue, towers)
    step(tf.range(min(config.batch_size, len(train))))
    train_epochs(
        run_epoch,
        lambda: selection.best_weights()[1],
        network.trainable_variables,
        config.epochs,
        config.patience,
        "ndcg@100",
    )
    weights, ndcg = selection.best_weights()
    finding, liking, retrieval = selection.impression_logits()
    return RankingModel(
        preprocessing,
        network,
        weights,
        score_calibration=fit_platt(weights.combine(finding, liking, retrieval), validation.labels),
        liking_calibration=fit_platt(liking, validation.labels),
        validation_ndcg=ndcg,
        validation_auc=area_under_roc(validation.labels, liking),
    )


def _make_step(
    network: DeepCrossRanker,
    preprocessing: Preprocessing,
    config: RankingConfig,
    train: Examples,
    rows: Arrays,
    catalogue: Catalogue,
    generator: np.random.Generator,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """One training step for a batch of impressions, each with its sampled items beside it."""
    requests = _tensors(preprocessing.encode({f.name: rows[f.name] for f in network.query_features}, train.seconds))
    item_rows = {f.name: rows[f.name] for f in network.item_features}
    shown = _tensors(preprocessing.encode(item_rows, train.seconds))
    codes = catalogue.codes(train.item_ids)
    engagements = Engagements(train.user_ids, codes, train.instants)
    counts = np.bincount(codes[codes >= 0], minlength=len(catalogue))
    drawn, usable = sample_negatives(
        train.user_ids, train.instants, counts, engagements, config.sampled_negatives, generator
    )
    # Attributes never change, so they are kept once an item; aggregates are as of each impression's instant.
    attributes = _tensors(preprocessing.encode(catalogue.attribute_arrays))
    at = np.repeat(train.instants, config.sampled_negatives)
    pairs = preprocessing.encode(catalogue.aggregates_at(drawn.ravel(), at), at // 1_000_000)
    aggregates = _tensors({name: v.reshape(drawn.shape + v.shape[1:]) for name, v in pairs.items()})
    drawn_codes = tf.constant(drawn, tf.int32)
    labels, weights = tf.constant(train.labels, tf.float32), tf.constant(usable, tf.float32)
    optimizer = tf.keras.optimizers.legacy.Adam(config.learning_rate)

    @tf.function(autograph=False)
    def step(batch: tf.Tensor) -> tf.Tensor:
        others = tf.gather(drawn_codes, batch)
        negatives = {name: tf.gather(values, others) for name, values in attributes.items()}
        negatives |= {name: tf.gather(values, batch) for name, values in aggregates.items()}
        candidates = {
            name: tf.concat([tf.gather(values, batch)[:, None], negatives[name]], axis=1)
            for name, values in shown.items()
        }
        outcome = tf.gather(labels, batch)[:, None]
        found = tf.ones_like(outcome) if config.impressions_are_choices else outcome
        found = tf.concat([found, tf.zeros_like(others, tf.float32)], axis=1)
        weight = tf.concat([tf.ones_like(outcome), tf.gather(weights, batch)], axis=1)
        with tf.GradientTape() as tape:
            query = network.query_side({name: tf.gather(v, batch) for name, v in requests.items()}, training=True)
            logits = network.logits(query, network.item_side(candidates), training=True)
            finding = tf.nn.sigmoid_cross_entropy_with_logits(found, logits.finding)
            liking = tf.nn.sigmoid_cross_entropy_with_logits(outcome, logits.liking[:, :1])
            loss = tf.reduce_sum(finding * weight) / tf.reduce_sum(weight) + tf.reduce_mean(liking)
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    return step


def _tensors(arrays: Arrays) -> dict[str, tf.Tensor]:
    return {name: tf.constant(values) for name, values in arrays.items()}

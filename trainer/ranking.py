"""Training of the ranker."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.spec import FeatureSpec
from trainer.calibration import fit_platt
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.dcn import DeepCrossRanker
from trainer.embeddings import apply_gradients
from trainer.engagements import Engagements
from trainer.epochs import train_epochs
from trainer.examples import ExampleFile, Examples
from trainer.feed import Feed, Nested, count_items, learn_preprocessing
from trainer.inputs import Preprocessing
from trainer.metrics import area_under_roc
from trainer.negatives import sample_negatives
from trainer.scoring import Towers
from trainer.selection import Selection, Weights


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
    query_features, item_features = spec.request_inputs("ranking"), spec.inputs("item", "ranking")
    preprocessing = learn_preprocessing(spec, "ranking", train)
    network = DeepCrossRanker(query_features, item_features, preprocessing.sizes, config)
    counts = count_items(train, catalogue, positives_only=False)
    engagements = Engagements.read((train.path,), catalogue.item_ids)
    feed = Feed(
        train.with_features((*query_features, *catalogue.dynamic_among(item_features))),
        lambda part, number: prepare_impressions(
            part, config, preprocessing, catalogue, network, (counts, engagements, config.seed + number)
        ),
    )
    step = _make_step(network, preprocessing, config, catalogue)
    generator = np.random.default_rng(config.seed)
    batch_size = min(config.batch_size, int(counts.sum()))

    def run_epoch(_: int) -> float:
        # No stretches of time: the sampled items are as of each impression's own instant.
        batches = feed.batches(batch_size, None, generator)
        return float(np.mean([step(batch) for batch in batches]))

    selection = Selection(spec, config, preprocessing, network, train, validation, catalogue, towers)
    step(next(feed.batches(batch_size, None, np.random.default_rng(config.seed))))
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
    labels = selection.impression_labels
    return RankingModel(
        preprocessing,
        network,
        weights,
        score_calibration=fit_platt(weights.combine(finding, liking, retrieval), labels),
        liking_calibration=fit_platt(liking, labels),
        validation_ndcg=ndcg,
        validation_auc=area_under_roc(labels, liking),
    )


def prepare_impressions(
    part: Examples,
    config: RankingConfig,
    preprocessing: Preprocessing,
    catalogue: Catalogue,
    network: DeepCrossRanker,
    sampling: tuple[np.ndarray, Engagements, int],
) -> dict[str, Any]:
    """What a training step takes of some impressions, each with its sampled items beside it.

    Args:
        part: rows of the training split.
        config: section `ranking`.
        preprocessing, network: of the model.
        catalogue: of m items; impressions of other items are left out.
        sampling: [m] training rows of each item, what users engaged with, and the seed of the draws.

    Returns:
        For p impressions and k sampled items each: `query`, the encoded query features [p, ...]; `codes` [p, 1 + k]
        int32, the item shown and the sampled ones; `items`, their encoded dynamic features [p, 1 + k, ...] as of the
        impression; `usable` [p, 1 + k] float32, 0 for a sampled item that the user had engaged with; `label` [p]
        float32.
    """
    counts, engagements, seed = sampling
    codes = catalogue.codes(part.item_ids)
    rows, codes = part.take(codes >= 0), codes[codes >= 0]
    drawn, usable = sample_negatives(
        rows.user_ids, rows.instants, counts, engagements, config.sampled_negatives, np.random.default_rng(seed)
    )
    candidates = np.concatenate([codes[:, None], drawn], axis=1)
    dynamic = catalogue.dynamic_among(network.item_features)
    shown = preprocessing.encode(rows.arrays(dynamic), rows.seconds)
    at = np.repeat(rows.instants, config.sampled_negatives)
    values = catalogue.dynamic_at(drawn.ravel(), at)
    sampled = preprocessing.encode({f.name: values[f.name] for f in dynamic}, at // 1_000_000)
    return {
        "query": preprocessing.encode(rows.arrays(network.query_features), rows.seconds),
        "codes": candidates.astype(np.int32),
        "items": {
            name: np.concatenate([own[:, None], sampled[name].reshape(drawn.shape + own.shape[1:])], axis=1)
            for name, own in shown.items()
        },
        "usable": np.concatenate([np.ones((len(rows), 1)), usable], axis=1).astype(np.float32),
        "label": rows.labels.astype(np.float32),
    }


def _make_step(
    network: DeepCrossRanker, preprocessing: Preprocessing, config: RankingConfig, catalogue: Catalogue
) -> Callable[[Nested], tf.Tensor]:
    """One training step for a batch of impressions, each with its sampled items beside it."""
    held = {f.name: catalogue.attribute_arrays[f.name] for f in catalogue.attributes if f in network.item_features}
    attributes = {name: tf.constant(values) for name, values in preprocessing.encode(held).items()}
    optimizer = tf.keras.optimizers.legacy.Adam(config.learning_rate)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch: Nested) -> tf.Tensor:
        candidates = {name: tf.gather(values, batch["codes"]) for name, values in attributes.items()} | batch["items"]
        outcome, weight = batch["label"][:, None], batch["usable"]
        found = tf.ones_like(outcome) if config.impressions_are_choices else outcome
        found = tf.concat([found, tf.zeros_like(weight[:, 1:])], axis=1)
        with tf.GradientTape() as tape:
            query = network.query_side(batch["query"], training=True)
            logits = network.logits(query, network.item_side(candidates), training=True)
            finding = tf.nn.sigmoid_cross_entropy_with_logits(found, logits.finding)
            liking = tf.nn.sigmoid_cross_entropy_with_logits(outcome, logits.liking[:, :1])
            loss = tf.reduce_sum(finding * weight) / tf.reduce_sum(weight) + tf.reduce_mean(liking)
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    return step

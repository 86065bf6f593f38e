"""Training of the two-tower model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.errors import DataError
from feature_repo.spec import FeatureSpec
from trainer.candidates import Queries, retrieve
from trainer.catalogue import Catalogue
from trainer.config import RetrievalConfig
from trainer.embeddings import apply_gradients
from trainer.engagements import Engagements
from trainer.epochs import time_ordered_batches, train_epochs
from trainer.examples import Examples
from trainer.inputs import Preprocessing
from trainer.losses import in_batch_logits, in_batch_softmax, mask_history
from trainer.metrics import recall_at_k
from trainer.two_tower import ITEM_KEY, TwoTower
from trainer.vocabularies import catalogue_probability, learn_moments, learn_vocabularies

VALIDATION_SNAPSHOTS = 8
"""How often items are re-embedded within the validation window."""

LARGEST_CUTOFF = 100
"""Validation recall is at this rank, or at a tenth of the catalogue where that is less: a rank that every item of a
small catalogue reaches tells no epoch from another."""


@dataclass(frozen=True)
class RetrievalModel:
    """A trained two-tower model.

    Attributes:
        preprocessing: of the inputs of both towers.
        network: the towers.
        validation_recall: recall on the validation positives at the rank `validation_cutoff` gives.
    """

    preprocessing: Preprocessing
    network: TwoTower
    validation_recall: float


def train_two_tower(
    spec: FeatureSpec, config: RetrievalConfig, train: Examples, validation: Examples, catalogue: Catalogue
) -> RetrievalModel:
    """Trains the towers on the positives among the training rows.

    Args:
        spec: the feature spec.
        config: section `retrieval`.
        train: training rows; item features as of each row's instant.
        validation: rows for early stopping.
        catalogue: items with their retrieval features.

    Raises:
        DataError: if too few rows are positive for one batch to hold a negative.
    """
    tf.keras.utils.set_random_seed(config.seed)
    positives = train if config.positives == "any" else train.take(train.labels > 0)
    if len(positives) < 2:
        raise DataError(
            f"retrieval needs at least 2 positive training rows. Received: {len(positives)}. Give it more data, "
            "or set retrieval.positives to `any`"
        )
    query_features, item_features = spec.request_inputs("retrieval"), spec.inputs("item", "retrieval")
    features = (*query_features, *item_features)
    rows = train.arrays(features)
    preprocessing = Preprocessing(
        features, learn_vocabularies(features, rows), learn_moments(features, rows, train.seconds)
    )
    network = TwoTower(query_features, item_features, preprocessing.sizes, config)
    encoded = preprocessing.encode(positives.arrays(features), positives.seconds)
    step = _make_step(network, config, encoded, positives.item_ids)
    generator = np.random.default_rng(config.seed)

    def run_epoch(_: int) -> float:
        batch_size = min(config.batch_size, len(positives))
        batches = time_ordered_batches(len(positives), batch_size, config.shuffle_batches, generator)
        return float(np.mean([step(tf.constant(batch)) for batch in batches]))

    validate = _make_validation(preprocessing, network, train, validation, catalogue)
    # Building the layers needs one pass; only then do the variables exist.
    step(tf.range(min(config.batch_size, len(positives))))
    variables = network.trainable_variables
    recall = train_epochs(
        run_epoch, validate, variables, config.epochs, config.patience, f"recall@{validation_cutoff(catalogue)}"
    )
    return RetrievalModel(preprocessing, network, recall)


def validation_cutoff(catalogue: Catalogue) -> int:
    """The rank at which validation recall is measured."""
    return max(1, min(LARGEST_CUTOFF, len(catalogue) // 10))


def _make_step(
    network: TwoTower, config: RetrievalConfig, encoded: Arrays, item_ids: np.ndarray
) -> Callable[[tf.Tensor], tf.Tensor]:
    data = {name: tf.constant(values) for name, values in encoded.items()}
    items, probability = catalogue_probability(item_ids)
    # Codes of the ids themselves: items outside the vocabulary share an index, yet are no accidental hits.
    places = np.searchsorted(items, item_ids.astype(str))
    codes, probabilities = tf.constant(places, tf.int32), tf.constant(probability[places], tf.float32)
    optimizer = tf.keras.optimizers.legacy.Adam(config.learning_rate)

    # Autograph finds nothing to convert here, and looking for it in Keras would take ten seconds.
    @tf.function(autograph=False)
    def step(batch: tf.Tensor) -> tf.Tensor:
        rows = {name: tf.gather(values, batch) for name, values in data.items()}
        with tf.GradientTape() as tape:
            queries = network.embed_query(rows, training=True)
            share, code = tf.gather(probabilities, batch), tf.gather(codes, batch)
            logits = in_batch_logits(queries, network.embed_item(rows), share, code, config.temperature)
            if network.takes_item_key:
                for feature in network.history_features:
                    logits = mask_history(logits, rows[ITEM_KEY], rows[feature.name])
            loss = in_batch_softmax(logits)
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    return step


def _make_validation(
    preprocessing: Preprocessing, network: TwoTower, train: Examples, validation: Examples, catalogue: Catalogue
) -> Callable[[], float]:
    wanted = validation.take((validation.labels > 0) & (catalogue.codes(validation.item_ids) >= 0))
    encoded = preprocessing.encode(wanted.arrays(network.query_features), wanted.seconds)
    data = {name: tf.constant(values) for name, values in encoded.items()}
    targets = catalogue.codes(wanted.item_ids)
    cutoff = validation_cutoff(catalogue)
    engagements = Engagements(
        np.concatenate([train.user_ids, validation.user_ids]),
        catalogue.codes(np.concatenate([train.item_ids, validation.item_ids])),
        np.concatenate([train.instants, validation.instants]),
    )
    span = (int(wanted.instants.max() - wanted.instants.min()) + 1) / 1_000_000 if len(wanted) else 1.0

    @tf.function(autograph=False)
    def embed_queries() -> tf.Tensor:
        return network.embed_query(data)

    def embed_items(items: Arrays) -> np.ndarray:
        return network.embed_item(preprocessing.encode(items)).numpy()

    def validate() -> float:
        queries = Queries(wanted.user_ids, wanted.instants, targets, embed_queries().numpy())
        found = retrieve(queries, catalogue, engagements, embed_items, span / VALIDATION_SNAPSHOTS, k=1)
        return float(np.mean(np.concatenate([recall_at_k(part.ranks, cutoff) for part in found])))

    return validate

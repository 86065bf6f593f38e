"""Training of the two-tower model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
from trainer.epochs import train_epochs
from trainer.examples import ExampleFile, Examples
from trainer.feed import Feed, Nested, count_items, learn_preprocessing
from trainer.inputs import Preprocessing
from trainer.losses import in_batch_logits, in_batch_softmax, mask_history
from trainer.metrics import recall_at_k
from trainer.two_tower import ITEM_KEY, TwoTower

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
    spec: FeatureSpec, config: RetrievalConfig, train: ExampleFile, validation: ExampleFile, catalogue: Catalogue
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
    counts = count_items(train, catalogue, positives_only=config.positives == "positive")
    if counts.sum() < 2:
        raise DataError(
            f"retrieval needs at least 2 positive training rows. Received: {counts.sum()}. Give it more data, "
            "or set retrieval.positives to `any`"
        )
    query_features, item_features = spec.request_inputs("retrieval"), spec.inputs("item", "retrieval")
    preprocessing = learn_preprocessing(spec, "retrieval", train)
    network = TwoTower(query_features, item_features, preprocessing.sizes, config)
    feed = Feed(
        train.with_features((*query_features, *catalogue.dynamic_among(item_features))),
        lambda part, _: prepare_positives(part, config, preprocessing, catalogue, network, counts),
    )
    step = _make_step(network, config, preprocessing, catalogue)
    generator = np.random.default_rng(config.seed)
    batch_size = min(config.batch_size, int(counts.sum()))

    def run_epoch(_: int) -> float:
        return float(np.mean([step(batch) for batch in feed.batches(batch_size, config.shuffle_batches, generator)]))

    validate = _make_validation(config, preprocessing, network, train, validation, catalogue)
    # Building the layers needs one pass; only then do the variables exist.
    step(next(feed.batches(batch_size, config.shuffle_batches, np.random.default_rng(config.seed))))
    variables = network.trainable_variables
    recall = train_epochs(
        run_epoch, validate, variables, config.epochs, config.patience, f"recall@{validation_cutoff(catalogue)}"
    )
    return RetrievalModel(preprocessing, network, recall)


def validation_cutoff(catalogue: Catalogue) -> int:
    """The rank at which validation recall is measured."""
    return max(1, min(LARGEST_CUTOFF, len(catalogue) // 10))


def prepare_positives(
    part: Examples,
    config: RetrievalConfig,
    preprocessing: Preprocessing,
    catalogue: Catalogue,
    network: TwoTower,
    counts: np.ndarray,
) -> dict[str, Any]:
    """What a training step takes of some rows.

    Args:
        part: rows of the training split.
        config: section `retrieval`.
        preprocessing, network: of the model.
        catalogue: of m items; rows of other items are left out.
        counts: [m] training rows of each item.

    Returns:
        For the p rows that count: `query`, the encoded query features [p, ...]; `items`, the encoded dynamic item
        features [p, ...]; `codes` [p] int32 of the items; `probability` [p] float32, the share of the training rows
        that have this item.
    """
    codes = catalogue.codes(part.item_ids)
    wanted = (codes >= 0) & ((part.labels > 0) | (config.positives == "any"))
    rows, codes = part.take(wanted), codes[wanted]
    return {
        "query": preprocessing.encode(rows.arrays(network.query_features), rows.seconds),
        "items": preprocessing.encode(rows.arrays(catalogue.dynamic_among(network.item_features)), rows.seconds),
        "codes": codes.astype(np.int32),
        "probability": (counts[codes] / counts.sum()).astype(np.float32),
    }


def _make_step(
    network: TwoTower, config: RetrievalConfig, preprocessing: Preprocessing, catalogue: Catalogue
) -> Callable[[Nested], tf.Tensor]:
    encoded = preprocessing.encode(catalogue.attribute_arrays)
    attributes = {name: tf.constant(values) for name, values in encoded.items()}
    optimizer = tf.keras.optimizers.legacy.Adam(config.learning_rate)

    # Autograph finds nothing to convert here, and looking for it in Keras would take ten seconds.
    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch: Nested) -> tf.Tensor:
        query, codes = batch["query"], batch["codes"]
        items = {name: tf.gather(values, codes) for name, values in attributes.items()} | batch["items"]
        with tf.GradientTape() as tape:
            queries = network.embed_query(query, training=True)
            logits = in_batch_logits(
                queries, network.embed_item(items), batch["probability"], codes, config.temperature
            )
            if network.takes_item_key:
                for feature in network.history_features:
                    logits = mask_history(logits, items[ITEM_KEY], query[feature.name])
            loss = in_batch_softmax(logits)
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    return step


def _make_validation(
    config: RetrievalConfig,
    preprocessing: Preprocessing,
    network: TwoTower,
    train: ExampleFile,
    validation: ExampleFile,
    catalogue: Catalogue,
) -> Callable[[], float]:
    wanted = validation.with_features(network.query_features).sample(
        config.validation_queries, config.seed, lambda part: (part.labels > 0) & (catalogue.codes(part.item_ids) >= 0)
    )
    encoded = preprocessing.encode(wanted.arrays(network.query_features), wanted.seconds)
    data = {name: tf.constant(values) for name, values in encoded.items()}
    targets = catalogue.codes(wanted.item_ids)
    cutoff = validation_cutoff(catalogue)
    engagements = Engagements.read((train.path, validation.path), catalogue.item_ids)
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

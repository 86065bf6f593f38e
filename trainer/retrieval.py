"""Training of the two-tower model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from feature_repo.errors import DataError
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from trainer.candidates import Queries, retrieve
from trainer.catalogue import Catalogue
from trainer.config import RetrievalConfig
from trainer.embeddings import apply_gradients
from trainer.engagements import Engagements
from trainer.epochs import train_epochs
from trainer.examples import ExampleFile
from trainer.feed import Feed, Nested, count_items, learn_preprocessing
from trainer.inputs import Encoded, Preprocessing
from trainer.losses import (
    MASKED,
    candidate_logits,
    mask_history,
    mixed_probability,
    sampled_softmax,
    symmetric_contrast,
)
from trainer.metrics import recall_at_k
from trainer.positives import HardNegatives, Positives
from trainer.two_tower import ITEM_KEY, TwoTower
from trainer.warm_start import Parent, extend, load_weights

VALIDATION_SNAPSHOTS = 8
"""How often items are re-embedded within the validation window."""

LARGEST_CUTOFF = 100
"""Validation recall is at this rank, or at a tenth of the catalogue where that is less: a rank that every item of a
small catalogue reaches tells no epoch from another."""

LOSSES = {"sampled_softmax": sampled_softmax, "contrastive": symmetric_contrast}


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
    spec: FeatureSpec,
    config: RetrievalConfig,
    train: ExampleFile,
    validation: ExampleFile,
    catalogue: Catalogue,
    parent: Parent | None = None,
) -> RetrievalModel:
    """Trains the towers on the positives among the training rows.

    Args:
        spec: the feature spec.
        config: section `retrieval`.
        train: training rows; item features as of each row's instant.
        validation: rows for early stopping.
        catalogue: items with their retrieval features.
        parent: whose weights training starts from.

    Raises:
        ConfigError: if the parent is of another configuration.
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
    if parent is not None:
        preprocessing = extend(preprocessing, parent)
    network = TwoTower(query_features, item_features, preprocessing.sizes, config)
    positives = Positives(config, preprocessing, catalogue, network, counts)
    feed = Feed(train.with_features((*query_features, *catalogue.dynamic_among(item_features))), positives.prepare)
    engagements = Engagements.read((train.path, validation.path), catalogue.item_ids)
    mining = HardNegatives(spec, positives, engagements).find if config.hard_negatives else None
    step = _make_step(spec, config, positives)
    generator = np.random.default_rng(config.seed)
    batch_size = min(config.batch_size, int(counts.sum()))

    def batches(random: np.random.Generator) -> Iterator[Nested]:
        return feed.batches(batch_size, config.shuffle_batches, random, mining)

    # Building the layers needs one pass; only then do the variables exist.
    step(next(batches(np.random.default_rng(config.seed))))
    if parent is not None:
        content = positives.embed_content if network.item_features else None
        report_progress(load_weights(network, preprocessing, parent, ITEM_KEY, content))
    recall = train_epochs(
        lambda _: float(np.mean([step(batch) for batch in batches(generator)])),
        _make_validation(spec, config, positives, engagements, validation),
        network.trainable_variables,
        config.epochs,
        config.patience,
        f"recall@{validation_cutoff(catalogue)}",
    )
    return RetrievalModel(preprocessing, network, recall)


def validation_cutoff(catalogue: Catalogue) -> int:
    """The rank at which validation recall is measured."""
    return max(1, min(LARGEST_CUTOFF, len(catalogue) // 10))


def _make_step(spec: FeatureSpec, config: RetrievalConfig, positives: Positives) -> Callable[[Nested], tf.Tensor]:
    network = positives.network
    unknown = tf.constant(positives.preprocessing.unknown_index(ITEM_KEY), tf.int32)
    attributes = {name: tf.constant(values) for name, values in positives.attributes.items()}
    counts = tf.constant(positives.counts / positives.counts.sum(), tf.float32)
    optimizer = tf.keras.optimizers.legacy.Adam(config.learning_rate)

    def encoded_items(codes: tf.Tensor, dynamic: Encoded) -> Encoded:
        return {name: tf.gather(values, codes) for name, values in attributes.items()} | dynamic

    def embed(items: Encoded) -> tf.Tensor:
        if network.takes_item_key and config.item_id_dropout:
            hidden = tf.random.uniform(tf.shape(items[ITEM_KEY])) < config.item_id_dropout
            items = {**items, ITEM_KEY: tf.where(hidden, unknown, items[ITEM_KEY])}
        return network.embed_item(items)

    # Autograph finds nothing to convert here, and looking for it in Keras would take ten seconds.
    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch: Nested) -> tf.Tensor:
        query = _without_histories(batch["query"], network, config.history_dropout)
        codes = tf.concat([batch["codes"], tf.reshape(batch["sampled"]["codes"], [-1])], axis=0)
        dynamic = {
            name: tf.concat([own, _flat(batch["sampled"]["items"][name])], axis=0)
            for name, own in batch["items"].items()
        }
        items = encoded_items(codes, dynamic)
        share = mixed_probability(tf.gather(counts, codes), config.sampled_negatives, len(positives.catalogue))
        with tf.GradientTape() as tape:
            queries = network.embed_query(query, training=True)
            corrected = share if config.loss == "sampled_softmax" else None
            logits = candidate_logits(queries, embed(items), corrected, codes)
            if network.takes_item_key and not spec.repeats:
                for feature in network.history_features:
                    logits = mask_history(logits, items[ITEM_KEY], batch["query"][feature.name])
            own = None
            if config.hard_negatives:
                hard = embed(encoded_items(batch["hard"]["codes"], batch["hard"]["items"]))
                own = tf.einsum("nd,nhd->nh", queries, hard)
                if corrected is not None:
                    often = tf.gather(counts, batch["hard"]["codes"])
                    # As if they had been drawn like the others: else they would weigh next to nothing.
                    own -= tf.math.log(mixed_probability(often, 1, len(positives.catalogue)))
                own = tf.where(batch["hard"]["usable"], own, MASKED)
            loss = LOSSES[config.loss](logits, own)
        apply_gradients(optimizer, tape, loss, network.trainable_variables)
        return loss

    return step


def _flat(values: tf.Tensor) -> tf.Tensor:
    """[n, k, ...] -> [n * k, ...]."""
    return tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], axis=0))


def _without_histories(query: Encoded, network: TwoTower, share: float) -> Encoded:
    """The query features with all histories of a random share of the rows empty."""
    if not share or not network.history_features:
        return query
    rows = tf.shape(query[network.history_features[0].name])[0]
    kept = tf.cast(tf.random.uniform([rows, 1]) >= share, tf.int32)
    return {**query, **{f.name: query[f.name] * kept for f in network.history_features}}


def _make_validation(
    spec: FeatureSpec,
    config: RetrievalConfig,
    positives: Positives,
    engagements: Engagements,
    validation: ExampleFile,
) -> Callable[[], float]:
    network, preprocessing, catalogue = positives.network, positives.preprocessing, positives.catalogue
    wanted = validation.with_features(network.query_features).sample(
        config.validation_queries, config.seed, lambda part: (part.labels > 0) & (catalogue.codes(part.item_ids) >= 0)
    )
    encoded = preprocessing.encode(wanted.arrays(network.query_features), wanted.seconds)
    data = {name: tf.constant(values) for name, values in encoded.items()}
    targets = catalogue.codes(wanted.item_ids)
    cutoff = validation_cutoff(catalogue)
    span = (int(wanted.instants.max() - wanted.instants.min()) + 1) / 1_000_000 if len(wanted) else 1.0

    @tf.function(autograph=False)
    def embed_queries() -> tf.Tensor:
        return network.embed_query(data)

    def validate() -> float:
        queries = Queries(wanted.user_ids, wanted.instants, targets, embed_queries().numpy())
        refresh = span / VALIDATION_SNAPSHOTS
        found = retrieve(queries, catalogue, engagements, positives.embed_items, refresh, k=1, repeats=spec.repeats)
        return float(np.mean(np.concatenate([recall_at_k(part.ranks, cutoff) for part in found])))

    return validate

"""Training of the boosted trees' ranker."""

import numpy as np
import tensorflow as tf

from feature_repo.progress import report_progress
from trainer.config import RankingConfig
from trainer.examples import ExampleFile
from trainer.feed import Nested
from trainer.impressions import ImpressionLists, candidates
from trainer.inputs import Encoded
from trainer.rankers.boosted_trees import BoostedTreesRanker, fit_trees

ROWS_AT_ONCE = 8192
"""Impressions whose columns are made together."""


def train_trees(network: BoostedTreesRanker, config: RankingConfig, lists: ImpressionLists, train: ExampleFile) -> None:
    """Trains both ensembles on a sample of the impressions that fits in memory.

    Args:
        network: the ranker; given its ensembles.
        config: section `ranking`.
        lists: makes lists of candidates out of impressions.
        train: training rows, with the features that `lists` takes.
    """
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

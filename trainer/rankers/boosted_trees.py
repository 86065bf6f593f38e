"""The ranker of gradient-boosted trees."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from feature_repo.errors import ConfigError
from feature_repo.spec import AggregateSource, Feature
from trainer.config import BoostedTreesConfig, RankingConfig
from trainer.embeddings import histories
from trainer.inputs import Encoded, Preprocessing, table_of
from trainer.rankers.attention import history_matches
from trainer.rankers.interface import ItemSide, Logits, Ranker
from trainer.rankers.tree_ensemble import TreeEnsemble, read_trees
from trainer.two_tower import ITEM_KEY

GRID = 2.0**-16
"""Columns are rounded to multiples of this. The same number computed for one row or for many may differ in its last
bit; trees would part the two, and answer differently to the same request."""


class TreeQuerySide(NamedTuple):
    """What the trees read of a request.

    Attributes:
        columns: [n, width] float32.
        histories: [n, length] indices of each history.
        tastes: [n, values], as of `Tastes`.
    """

    columns: tf.Tensor
    histories: tuple[tf.Tensor, ...]
    tastes: tf.Tensor


class BoostedTreesRanker(Ranker):
    """Two ensembles of trees over the columns of a request, a candidate and what the one says about the other.

    Columns are numbers, shares, categories and sets of few values, the candidate's matches in the histories and with
    the user's tastes. Ids are none: a tree that splits on them learns its training rows by heart. Vectors brought
    from elsewhere (text, images) are none either: no single coordinate of them means anything.

    Args:
        query_features, item_features, preprocessing: as for `Ranker`.
        config: section `ranking`.

    Raises:
        ConfigError: if no feature of items makes a column.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        preprocessing: Preprocessing,
        config: RankingConfig,
    ) -> None:
        super().__init__(query_features, item_features, preprocessing, config)
        self._sizes = preprocessing.sizes
        self._query_columns = tuple(f for f in self.query_features if self._width(f))
        self._item_columns = tuple(f for f in self.attribute_features if self._width(f))
        if not (self._item_columns or self.activity_features):
            raise ConfigError(
                "boosted trees need numbers or small categories of items. Received: item features "
                f"{', '.join(f.name for f in self.item_features)}: add some, or set ranking.model to dcn_v2"
            )
        self.history_features = histories(self.query_features, ITEM_KEY) if config.history_matches else ()
        self.ensembles: list[TreeEnsemble] = []

    @property
    def categorical_columns(self) -> list[int]:
        """Columns of `rows` that hold the index of a category."""
        found, start = [], 0
        for feature in (*self._query_columns, *self._item_columns):
            if feature.kind == "categorical":
                found.append(start)
            start += self._width(feature)
        return found

    def query_side(self, encoded: Encoded, training: bool = False) -> TreeQuerySide:
        """Request-side work, for [n] encoded requests."""
        columns = [self._columns(feature, encoded) for feature in self._query_columns]
        rows = tf.shape(next(iter(encoded.values())))[0]
        empty = tf.zeros([rows, 0])
        return TreeQuerySide(
            tf.concat([empty, *columns], axis=-1),
            tuple(encoded[feature.name] for feature in self.history_features),
            self.tastes.of_requests(encoded) if self.tastes.pairs else empty,
        )

    def item_vector(self, encoded: Encoded) -> tf.Tensor:
        """[..., width] columns of an item's attributes."""
        columns = [self._columns(feature, encoded) for feature in self._item_columns]
        shape = tf.shape(encoded[self.item_features[0].name])[: self._leading(encoded)]
        return tf.concat([tf.zeros(tf.concat([shape, [0]], axis=0)), *columns], axis=-1)

    def rows(self, query: TreeQuerySide, items: ItemSide) -> tf.Tensor:
        """[n, k, columns] float32: what the trees read of k candidates of each of n requests."""
        count = tf.shape(items.key)[1]
        parts = [tf.repeat(query.columns[:, None, :], count, axis=1), items.vector, items.activity]
        if self.takes_item_key:
            parts += [history_matches(items.key, history) for history in query.histories]
        if self.tastes.pairs:
            parts.append(self.tastes.match(query.tastes, items.tastes))
        return tf.round(tf.concat(parts, axis=-1) / GRID) * GRID

    def logits(self, query: TreeQuerySide, items: ItemSide, training: bool = False) -> Logits:
        """Logits [n, k]."""
        rows = self.rows(query, items)
        shape = tf.shape(rows)
        flat = tf.reshape(rows, [-1, shape[2]])
        return Logits(*(tf.reshape(ensemble.predict(flat), shape[:2]) for ensemble in self.ensembles))

    def _leading(self, encoded: Encoded) -> int:
        first = self.item_features[0]
        return len(encoded[first.name].shape) - (1 if first.length is not None or first.kind == "text" else 0)

    def _width(self, feature: Feature) -> int:
        if feature.kind in ("numeric", "timestamp"):
            return 1
        if feature.kind == "embedding":
            return (feature.length or 0) if isinstance(feature.source, AggregateSource) else 0
        owner = str(table_of(feature))
        size = self._sizes[owner]
        if owner == ITEM_KEY or feature.kind == "text" or size > self.config.boosted_trees.largest_vocabulary:
            return 0
        return 1 if feature.kind == "categorical" else size

    def _columns(self, feature: Feature, encoded: Encoded) -> tf.Tensor:
        value = encoded[feature.name]
        if feature.kind == "sequence":
            present = tf.reduce_max(tf.one_hot(value, self._width(feature)), axis=-2)
            # Index 0 is padding, which is no value.
            return present * tf.constant([0.0] + [1.0] * (self._width(feature) - 1))
        return tf.cast(value if feature.kind == "embedding" else value[..., None], tf.float32)


def fit_trees(
    rows: np.ndarray,
    labels: np.ndarray,
    categorical: list[int],
    lists: np.ndarray | None,
    config: BoostedTreesConfig,
    seed: int,
) -> TreeEnsemble:
    """Trains one ensemble.

    Args:
        rows: [n, columns] float32.
        labels: [n] 0 or 1.
        categorical: columns of categories.
        lists: [lists] rows of each list, in order, where the objective is over lists; None for the binary one.
        config: section `ranking.boosted_trees`.
        seed: of the columns that a tree may ask for.

    References:
        Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
    """
    import lightgbm

    parameters: dict[str, Any] = {
        "objective": "binary" if lists is None else "lambdarank",
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "max_depth": config.depth,
        "min_data_in_leaf": config.rows_in_leaf,
        "feature_fraction": config.feature_share,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    data = lightgbm.Dataset(rows, labels, group=lists, categorical_feature=categorical)
    return read_trees(lightgbm.train(parameters, data, num_boost_round=config.trees).dump_model())

"""Negatives mined from what the model as it stands would retrieve."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.catalogue import Catalogue
from trainer.config import RetrievalConfig
from trainer.inputs import Encoded, Preprocessing
from trainer.two_tower import ITEM_KEY, TwoTower

CORPUS = 50_000
"""Most items that are mined at a time; of a larger catalogue another sample at every refresh."""

SNAPSHOTS = 8
"""Instants of the training window as of which items are embedded: a query's negatives are of about its own time."""


class HardNegatives:
    """The current index of a model in training.

    Args:
        network, preprocessing: the model.
        catalogue: of m items.
        attributes: encoded attributes of the catalogue's items, [m, ...] each.
        config: section `retrieval`.
        window: unix microseconds of the first and the last training row.
    """

    def __init__(
        self,
        network: TwoTower,
        preprocessing: Preprocessing,
        catalogue: Catalogue,
        attributes: Mapping[str, tf.Tensor],
        config: RetrievalConfig,
        window: tuple[int, int],
    ) -> None:
        self._network, self._preprocessing, self._catalogue = network, preprocessing, catalogue
        self._attributes, self._config = attributes, config
        # The middle of each of as many stretches of equal length.
        self._instants = (window[0] + (np.arange(SNAPSHOTS) + 0.5) / SNAPSHOTS * (window[1] - window[0])).astype(np.int64)
        self._generator = np.random.default_rng(config.seed)
        size = min(len(catalogue), CORPUS)
        self._corpus = tf.Variable(tf.zeros([size], tf.int32), trainable=False)
        self._vectors = tf.Variable(tf.zeros([SNAPSHOTS, size, config.embedding_dimension]), trainable=False)
        self._dynamic = {
            name: tf.Variable(tf.zeros([SNAPSHOTS, size, *values.shape[1:]], values.dtype), trainable=False)
            for name, values in self._encode(np.arange(1), int(self._instants[0])).items()
        }
        self.ready = tf.Variable(0.0, trainable=False)
        """1 once the index holds what a model has learned, else 0."""

    def snapshot(self, instants: np.ndarray) -> np.ndarray:
        """[n] int32: which snapshot is the nearest to each instant, int64 unix microseconds."""
        middles = (self._instants[1:] + self._instants[:-1]) // 2
        return np.searchsorted(middles, instants).astype(np.int32)

    def refresh(self) -> None:
        """Embeds the items anew."""
        size = self._corpus.shape[0]
        corpus = np.sort(self._generator.choice(len(self._catalogue), size, replace=False))
        self._corpus.assign(corpus)
        held = {name: tf.gather(values, corpus) for name, values in self._attributes.items()}
        for place, instant in enumerate(self._instants):
            dynamic = self._encode(corpus, int(instant))
            self._vectors[place].assign(self._network.embed_item({**held, **dynamic}))
            for name, values in dynamic.items():
                self._dynamic[name][place].assign(values)
        self.ready.assign(1.0)

    def mine(
        self, queries: tf.Tensor, codes: tf.Tensor, histories: list[tf.Tensor], snapshot: tf.Tensor
    ) -> tuple[Encoded, tf.Tensor]:
        """Draws from what ranks high for each query.

        Args:
            queries: [n, dimension] embeddings.
            codes: [n] the positives.
            histories: [n, length] each, vocabulary indices of items that the users had; 0 is padding.
            snapshot: scalar, of about the queries' time.

        Returns:
            Encoded features of the items [n, h, ...], and [n, h] bool: False where there is no more negative.
        """
        config = self._config
        scores = tf.matmul(tf.stop_gradient(queries), self._vectors[snapshot], transpose_b=True)
        size = scores.shape[1]
        reach = min(config.hard_negative_skip + config.hard_negative_pool, size)
        skip = min(config.hard_negative_skip, reach - 1)
        places = tf.math.top_k(scores, reach).indices[:, skip:]
        found = tf.gather(self._corpus, places)
        usable = found != codes[:, None]
        if ITEM_KEY in self._attributes:
            ids = tf.gather(self._attributes[ITEM_KEY], found)
            for history in histories:
                usable &= ~tf.reduce_any(ids[:, :, None] == history[:, None, :], axis=2)
        draw = tf.where(usable, tf.random.uniform(tf.shape(places), seed=config.seed), -1.0)
        number = min(config.hard_negatives, reach - skip)
        drawn, order = tf.math.top_k(draw, number)
        chosen, places = (tf.gather(values, order, batch_dims=1) for values in (found, places))
        items = {name: tf.gather(values, chosen) for name, values in self._attributes.items()}
        items |= {name: tf.gather(values[snapshot], places) for name, values in self._dynamic.items()}
        return items, drawn >= 0.0

    def _encode(self, codes: np.ndarray, instant: int) -> dict[str, np.ndarray]:
        return self._preprocessing.encode(self._catalogue.dynamic_at(codes, np.full(len(codes), instant)))

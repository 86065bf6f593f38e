"""What the two-tower model is trained on: positives, and items that stand in for what was not chosen."""

from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.spec import FeatureSpec
from trainer.candidates import Queries, retrieve
from trainer.catalogue import Catalogue
from trainer.config import RetrievalConfig
from trainer.engagements import Engagements
from trainer.examples import Examples
from trainer.inputs import Preprocessing
from trainer.two_tower import TwoTower


class Positives:
    """Arrays of training rows.

    Args:
        config: section `retrieval`.
        preprocessing, network: of the model.
        catalogue: of m items; rows of other items are left out.
        counts: [m] training rows of each item.
    """

    def __init__(
        self,
        config: RetrievalConfig,
        preprocessing: Preprocessing,
        catalogue: Catalogue,
        network: TwoTower,
        counts: np.ndarray,
    ) -> None:
        self.config, self.preprocessing, self.catalogue = config, preprocessing, catalogue
        self.network, self.counts = network, counts
        self.attributes = preprocessing.encode(catalogue.attribute_arrays)
        self._dynamic = catalogue.dynamic_among(network.item_features)

    def prepare(self, part: Examples, number: int) -> dict[str, Any]:
        """What a training step takes of some rows.

        Args:
            part: rows of the training split.
            number: of the part; seeds its draws.

        Returns:
            For the p rows that count: `query`, the encoded query features [p, ...]; `items`, the encoded dynamic item
            features [p, ...]; `codes` [p] int32 of the items; `sampled`, as `encoded` gives, the items drawn
            uniformly for each row.
        """
        rows, codes = self.select(part)
        random = np.random.default_rng((self.config.seed, number))
        drawn = random.integers(0, len(self.catalogue), (len(rows), self.config.sampled_negatives))
        return {
            "query": self.preprocessing.encode(rows.arrays(self.network.query_features), rows.seconds),
            "items": self.preprocessing.encode(rows.arrays(self._dynamic), rows.seconds),
            "codes": codes.astype(np.int32),
            "sampled": self.encoded(drawn, rows.instants),
        }

    def select(self, part: Examples) -> tuple[Examples, np.ndarray]:
        """The rows that count and the codes of their items."""
        codes = self.catalogue.codes(part.item_ids)
        wanted = (codes >= 0) & ((part.labels > 0) | (self.config.positives == "any"))
        return part.take(wanted), codes[wanted]

    def encoded(self, codes: np.ndarray, instants: np.ndarray) -> dict[str, Any]:
        """Items beside rows.

        Args:
            codes: [p, k] items.
            instants: [p] of the rows.

        Returns:
            `codes` [p, k] int32 and `items`, their encoded dynamic features [p, k, ...] as of the row.
        """
        at = np.repeat(instants, codes.shape[1])
        values = self.catalogue.dynamic_at(codes.ravel(), at)
        found = self.preprocessing.encode({f.name: values[f.name] for f in self._dynamic}, at // 1_000_000)
        return {
            "codes": codes.astype(np.int32),
            "items": {name: value.reshape(codes.shape + value.shape[1:]) for name, value in found.items()},
        }

    def embed_items(self, items: Arrays) -> np.ndarray:
        """Embeddings [m, dimension] of all items, by the model as it stands, given their raw features."""
        return self.network.embed_item(self.preprocessing.encode(items)).numpy()

    def embed_content(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids [m] of the catalogue and what the model makes of each item's content, [m, dimension], as it ends."""
        latest = self.catalogue.snapshots(np.array([np.iinfo(np.int64).max // 2]))[0]
        return self.catalogue.item_ids, self.network.embed_content(self.preprocessing.encode(latest)).numpy()


class HardNegatives:
    """Items that the model as it stands ranks high and that were not chosen.

    Args:
        spec: the feature spec.
        positives: of the training rows.
        engagements: of the users; what a user had engaged with is no negative where items are consumed once.
    """

    def __init__(self, spec: FeatureSpec, positives: Positives, engagements: Engagements) -> None:
        self._repeats, self._positives, self._engagements = spec.repeats, positives, engagements

        @tf.function(autograph=False, reduce_retracing=True)
        def embed(encoded: dict[str, tf.Tensor]) -> tf.Tensor:
            return positives.network.embed_query(encoded)

        self._embed = embed

    def find(self, part: Examples) -> dict[str, Any]:
        """The hard negatives of a part's rows.

        Items are embedded once, as of the middle of the part.

        Returns:
            `hard`: as `Positives.encoded` gives, and `usable` [p, h] bool, False where the corpus has no more items.
        """
        positives, config = self._positives, self._positives.config
        rows, codes = positives.select(part)
        encoded = positives.preprocessing.encode(rows.arrays(positives.network.query_features), rows.seconds)
        vectors = self._embed({name: tf.constant(values) for name, values in encoded.items()}).numpy()
        middle = np.full(len(rows), rows.instants[len(rows) // 2] if len(rows) else 0)
        wanted = config.hard_negatives + config.hard_skip + 1
        hard = np.zeros((len(rows), config.hard_negatives), np.int64)
        usable = np.zeros(hard.shape, bool)
        queries = Queries(rows.user_ids, middle, codes, vectors)
        found = retrieve(
            queries, positives.catalogue, self._engagements, positives.embed_items, 1e-6, wanted, self._repeats
        )
        for some in found:
            places, here = _first_negatives(some.candidates, some.scores, codes[some.rows], config)
            hard[some.rows], usable[some.rows] = places, here
        return {"hard": {**positives.encoded(hard, rows.instants), "usable": usable}}


def _first_negatives(
    candidates: np.ndarray, scores: np.ndarray, targets: np.ndarray, config: RetrievalConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The best candidates [q, h] but the target and those passed over, and which of them are in the corpus."""
    other = candidates != targets[:, None]
    order = np.argsort(~other, axis=1, kind="stable")
    chosen = order[:, config.hard_skip : config.hard_skip + config.hard_negatives]
    codes = np.take_along_axis(candidates, chosen, axis=1)
    usable = np.take_along_axis(other & np.isfinite(scores), chosen, axis=1)
    short = config.hard_negatives - codes.shape[1]
    return np.pad(codes, ((0, 0), (0, short))), np.pad(usable, ((0, 0), (0, short)))

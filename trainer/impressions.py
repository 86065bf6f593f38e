"""Impressions with sampled items beside them, as the ranker is trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.spec import FeatureSpec
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.engagements import Engagements
from trainer.examples import Examples
from trainer.feed import Nested
from trainer.inputs import Encoded, Preprocessing
from trainer.negatives import RetrievedNegatives, sample_negatives
from trainer.rankers.interface import Ranker


@dataclass(frozen=True)
class ImpressionLists:
    """Makes lists of candidates out of impressions.

    Attributes:
        spec: the feature spec.
        config: section `ranking`.
        preprocessing, network: of the model.
        catalogue: of m items; impressions of other items are left out.
        counts: [m] training rows of each item.
        engagements: what users engaged with.
        retrieved: draws from what retrieval hands on; None where the config wants no such items.
    """

    spec: FeatureSpec
    config: RankingConfig
    preprocessing: Preprocessing
    network: Ranker
    catalogue: Catalogue
    counts: np.ndarray
    engagements: Engagements
    retrieved: RetrievedNegatives | None

    def prepare(self, part: Examples, number: int) -> dict[str, Any]:
        """What a training step takes of some impressions.

        Args:
            part: rows of the training split.
            number: of the part; the same part gets the same draws in every epoch.

        Returns:
            For p impressions and k sampled items each: `query`, the encoded query features [p, ...]; `codes`
            [p, 1 + k] int32, the item shown and the sampled ones; `items`, their encoded dynamic features
            [p, 1 + k, ...] as of the impression; `usable` [p, 1 + k] float32, 0 for a sampled item that the user had
            engaged with (where items are consumed repeatedly, only for the one shown); `label` [p] float32; `user` [p]
            int32, the same for impressions of one user.
        """
        codes = self.catalogue.codes(part.item_ids)
        rows, codes = part.take(codes >= 0), codes[codes >= 0]
        drawn, usable = self._draw(rows, codes, np.random.default_rng([self.config.seed, number]))
        dynamic = self.catalogue.dynamic_among(self.network.item_features)
        shown = self.preprocessing.encode(rows.arrays(dynamic), rows.seconds)
        at = np.repeat(rows.instants, drawn.shape[1])
        values = self.catalogue.dynamic_at(drawn.ravel(), at)
        sampled = self.preprocessing.encode({f.name: values[f.name] for f in dynamic}, at // 1_000_000)
        return {
            "query": self.preprocessing.encode(rows.arrays(self.network.query_features), rows.seconds),
            "codes": np.concatenate([codes[:, None], drawn], axis=1).astype(np.int32),
            "items": {
                name: np.concatenate([own[:, None], sampled[name].reshape(drawn.shape + own.shape[1:])], axis=1)
                for name, own in shown.items()
            },
            "usable": np.concatenate([np.ones((len(rows), 1)), usable], axis=1).astype(np.float32),
            "label": rows.labels.astype(np.float32),
            "user": np.unique(rows.user_ids.astype(str), return_inverse=True)[1].astype(np.int32),
        }

    def attributes(self) -> Encoded:
        """Encoded attributes of all items, [m, ...] each, by which `candidates` completes a batch."""
        catalogue = self.catalogue
        held = {
            f.name: catalogue.attribute_arrays[f.name] for f in catalogue.attributes if f in self.network.item_features
        }
        return {name: tf.constant(values) for name, values in self.preprocessing.encode(held).items()}

    def found(self, batch: Nested) -> tf.Tensor:
        """[n, 1 + k] float32 labels of finding: whether the user went for the item at all."""
        outcome = batch["label"][:, None]
        shown = tf.ones_like(outcome) if self.config.impressions_are_choices else outcome
        return tf.concat([shown, tf.zeros_like(batch["usable"][:, 1:])], axis=1)

    def _draw(self, rows: Examples, codes: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        config = self.config.sampled_negatives
        retrieved = round(config.number * config.from_retrieval) if self.retrieved is not None else 0
        sampled = config.number - retrieved
        drawn, usable = sample_negatives(
            rows.user_ids, rows.instants, self.counts, self.engagements, sampled, generator
        )
        if self.retrieved is not None and retrieved:
            more = self.retrieved.draw(rows, retrieved, generator)
            fits = (more >= 0) & ~self.engagements.includes(rows.user_ids, np.maximum(more, 0), rows.instants)
            drawn = np.concatenate([drawn, np.maximum(more, 0)], axis=1)
            usable = np.concatenate([usable, fits], axis=1)
        # What somebody had before and did not take this time is as good a negative as any where items are taken again.
        return drawn, drawn != codes[:, None] if self.spec.repeats else usable


def candidates(batch: Nested, attributes: Encoded) -> Encoded:
    """Encoded item features [n, 1 + k, ...] of a batch."""
    return {name: tf.gather(values, batch["codes"]) for name, values in attributes.items()} | batch["items"]

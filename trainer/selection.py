"""What is decided on validation rows: the ranker's best epoch and the weights of the parts of its final logit."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.spec import FeatureSpec
from trainer.candidates import Queries, retrieve
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.engagements import Engagements
from trainer.examples import ExampleFile
from trainer.inputs import Encoded, Preprocessing
from trainer.item_similarity import ItemSimilarity
from trainer.metrics import area_under_roc, mean_user_area_under_roc, ndcg_at_k
from trainer.rankers.interface import Logits, Ranker
from trainer.retrieval import VALIDATION_SNAPSHOTS
from trainer.scoring import Towers
from trainer.two_tower import ITEM_KEY

CANDIDATES = 500
"""Candidates of each validation query; fewer than in serving, which seldom changes the top ten."""

CUTOFF = 100
"""Of the NDCG by which epochs and weights are compared. What lies below the top ten steadies the comparison: on a
thousand queries NDCG@10 differs more by chance than from one epoch to the next."""

REQUESTS_AT_ONCE = 128
"""Requests whose candidates are scored together."""

IMPRESSIONS = 100_000
"""Validation impressions on which scores are calibrated; a sample where there are more."""


class Weights(NamedTuple):
    """How much the parts of the final logit count beside the finding head, which counts 1."""

    liking: float
    retrieval: float
    similarity: float

    def combine(self, finding: Any, liking: Any, retrieval_score: Any, similarity: Any) -> Any:
        """The final logit, of arrays or tensors."""
        return finding + self.liking * liking + self.retrieval * retrieval_score + self.similarity * similarity


@dataclass(frozen=True)
class _Part:
    """Validation queries of one snapshot, ready to be scored at every epoch."""

    requests: dict[str, tf.Tensor]
    items: dict[str, tf.Tensor]
    candidates: np.ndarray
    retrieval_scores: np.ndarray
    similarity: np.ndarray
    targets: np.ndarray

    @cached_property
    def hits(self) -> np.ndarray:
        """[q, k] bool: which candidate is the one asked for."""
        return self.candidates == self.targets[:, None]


class Selection:
    """Scores validation rows with the ranker as it stands.

    Args:
        spec: the feature spec.
        config: section `ranking`.
        preprocessing, network: the ranker in training.
        train, validation: their rows.
        catalogue: items with the features that ranking or retrieval takes.
        towers: the exported retrieval model.
        similarity: how items go together; None for no such part.

    Attributes:
        impression_labels, impression_users: [n] outcomes and user ids of the validation impressions.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        config: RankingConfig,
        preprocessing: Preprocessing,
        network: Ranker,
        train: ExampleFile,
        validation: ExampleFile,
        catalogue: Catalogue,
        towers: Towers,
        similarity: ItemSimilarity | None,
    ) -> None:
        self._config, self._network, self._similarity = config, network, similarity
        self._parts: list[_Part] = []
        self._collect_queries(spec, preprocessing, train, validation, catalogue, towers)
        self._collect_impressions(spec, preprocessing, validation, catalogue, towers)

        @tf.function(autograph=False, reduce_retracing=True)
        def score(requests: dict[str, tf.Tensor], items: dict[str, tf.Tensor], candidates: tf.Tensor) -> Logits:
            return network.logits(network.query_side(requests), network.item_side(items).take(candidates))

        self._score = score

    def best_weights(self) -> tuple[Weights, float]:
        """The weights with the best NDCG@100 of the configured ones, and that value."""
        config = self._config
        of_similarity = config.similarity_weights if self._similarity is not None else (0.0,)
        choices = [Weights(*one) for one in product(config.liking_weights, config.retrieval_weights, of_similarity)]
        sums = np.zeros(len(choices))
        queries = 0
        for part in self._parts:
            logits = self._score(part.requests, part.items, tf.constant(part.candidates, tf.int32))
            queries += len(part.targets)
            rows = np.flatnonzero(part.hits.any(axis=1))
            own = part.hits[rows].argmax(axis=1)
            # What lies beyond the end of the corpus stays there, with a weight of 0 too.
            finding = np.where(np.isneginf(part.retrieval_scores), -np.inf, logits.finding.numpy())[rows]
            retrieved = np.where(np.isneginf(part.retrieval_scores), 0.0, part.retrieval_scores)[rows]
            liking, similarity = logits.liking.numpy()[rows], part.similarity[rows]
            for place, weights in enumerate(choices):
                scores = weights.combine(finding, liking, retrieved, similarity)
                above = (scores > np.take_along_axis(scores, own[:, None], axis=1)).sum(axis=1)
                sums[place] += ndcg_at_k(above + 1.0, CUTOFF).sum()
        best = int(sums.argmax())
        return choices[best], float(sums[best] / max(queries, 1))

    def liking_quality(self) -> float:
        """Of the liking head on the validation impressions: the mean of its AUC and its per-user AUC.

        The one alone would be raised by what tells users apart, the other by forgetting it, which costs calibration.
        """
        liking = self.impression_logits()[1]
        overall = area_under_roc(self.impression_labels, liking)
        within = mean_user_area_under_roc(self.impression_labels, liking, self.impression_users)
        return overall if np.isnan(within) else (overall + within) / 2

    def impression_logits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Finding and liking logits, retrieval scores and similarities of the validation impressions, [n] each."""
        rows = len(self._impression_retrieval_scores)
        finding, liking = [], []
        for start in range(0, rows, REQUESTS_AT_ONCE):
            here = slice(start, start + REQUESTS_AT_ONCE)
            logits = self._score(
                {name: values[here] for name, values in self._impression_requests.items()},
                {name: values[here] for name, values in self._impression_items.items()},
                tf.range(min(REQUESTS_AT_ONCE, rows - start))[:, None],
            )
            finding.append(logits.finding.numpy()[:, 0])
            liking.append(logits.liking.numpy()[:, 0])
        parts = np.concatenate(finding), np.concatenate(liking)
        return *parts, self._impression_retrieval_scores, self._impression_similarity

    def _collect_queries(
        self,
        spec: FeatureSpec,
        preprocessing: Preprocessing,
        train: ExampleFile,
        validation: ExampleFile,
        catalogue: Catalogue,
        towers: Towers,
    ) -> None:
        request_features = dict.fromkeys((*spec.request_inputs("retrieval"), *spec.request_inputs("ranking")))
        chosen = validation.with_features(request_features).sample(
            self._config.selection_queries,
            self._config.seed,
            lambda part: (part.labels > 0) & (catalogue.codes(part.item_ids) >= 0),
        )
        vectors = towers.embed_queries(chosen.arrays(spec.request_inputs("retrieval")), chosen.seconds)
        targets = catalogue.codes(chosen.item_ids)
        engagements = Engagements.read((train.path, validation.path), catalogue.item_ids)
        requests = preprocessing.encode(chosen.arrays(spec.request_inputs("ranking")), chosen.seconds)
        span = (int(np.ptp(chosen.instants)) + 1) / 1_000_000 if len(chosen) else 1.0
        found = retrieve(
            Queries(chosen.user_ids, chosen.instants, targets, vectors),
            catalogue,
            engagements,
            towers.embed_items,
            span / VALIDATION_SNAPSHOTS,
            CANDIDATES,
            spec.repeats,
        )
        for part in found:
            for start in range(0, len(part.rows), REQUESTS_AT_ONCE):
                here = slice(start, start + REQUESTS_AT_ONCE)
                rows = part.rows[here]
                # Spans of time are taken to the middle request; they change little within a snapshot.
                middle = np.full(len(catalogue), chosen.seconds[rows[len(rows) // 2]])
                features = {f.name: part.items[f.name] for f in self._network.item_features}
                asked = {name: tf.constant(values[rows]) for name, values in requests.items()}
                items = _tensors(preprocessing.encode(features, middle))
                candidates = part.candidates[here]
                self._parts.append(
                    _Part(
                        requests=asked,
                        items=items,
                        candidates=candidates,
                        retrieval_scores=part.scores[here],
                        similarity=self._similar(asked, items, candidates),
                        targets=targets[rows],
                    )
                )

    def _collect_impressions(
        self,
        spec: FeatureSpec,
        preprocessing: Preprocessing,
        validation: ExampleFile,
        catalogue: Catalogue,
        towers: Towers,
    ) -> None:
        features = (*self._network.query_features, *self._network.item_features)
        retrieval_features = (*spec.request_inputs("retrieval"), *spec.inputs("item", "retrieval"))
        retrieval_items = spec.inputs("item", "retrieval")
        columns = [f for f in (*features, *retrieval_features) if f not in catalogue.attributes]
        shown = validation.with_features(columns).sample(
            IMPRESSIONS, self._config.seed, lambda part: catalogue.codes(part.item_ids) >= 0
        )
        self.impression_labels, self.impression_users = shown.labels, shown.user_ids
        queries = towers.embed_queries(shown.arrays(spec.request_inputs("retrieval")), shown.seconds)
        items = towers.embed_items(catalogue.features_of(shown, retrieval_items))
        self._impression_retrieval_scores = (queries * items).sum(axis=1)
        arrays = shown.arrays(self._network.query_features)
        arrays |= catalogue.features_of(shown, self._network.item_features)
        encoded = _tensors(preprocessing.encode(arrays, shown.seconds))
        self._impression_requests = {f.name: encoded[f.name] for f in self._network.query_features}
        self._impression_items = {f.name: encoded[f.name] for f in self._network.item_features}
        self._impression_similarity = np.concatenate(
            [np.empty(0, np.float32)]
            + [
                self._similar(
                    {name: values[start : start + REQUESTS_AT_ONCE] for name, values in encoded.items()},
                    {name: values[start : start + REQUESTS_AT_ONCE] for name, values in encoded.items()},
                    np.arange(min(REQUESTS_AT_ONCE, len(shown) - start))[:, None],
                )[:, 0]
                for start in range(0, len(shown), REQUESTS_AT_ONCE)
            ]
        )

    def _similar(self, requests: Encoded, items: Encoded, candidates: np.ndarray) -> np.ndarray:
        """[n, k] similarity of candidates to the histories of the requests; zeros where items have none."""
        if self._similarity is None:
            return np.zeros(candidates.shape, np.float32)
        return self._similarity.score(requests, tf.gather(items[ITEM_KEY], candidates)).numpy()


def _tensors(arrays: Arrays) -> dict[str, tf.Tensor]:
    return {name: tf.constant(values) for name, values in arrays.items()}

"""What is decided on validation rows: the ranker's best epoch and the weights of the parts of its final logit."""

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from feature_repo.columns import Arrays
from feature_repo.spec import FeatureSpec
from trainer.candidates import Queries, candidate_ranks, retrieve
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.dcn import DeepCrossRanker, ItemSide, Logits
from trainer.engagements import Engagements
from trainer.examples import ExampleFile
from trainer.inputs import Preprocessing
from trainer.metrics import ndcg_at_k
from trainer.retrieval import VALIDATION_SNAPSHOTS
from trainer.scoring import Towers

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

    def combine(self, finding: Any, liking: Any, retrieval_score: Any) -> Any:
        """The final logit, of arrays or tensors."""
        return finding + self.liking * liking + self.retrieval * retrieval_score


@dataclass(frozen=True)
class _Part:
    """Validation queries of one snapshot, ready to be scored at every epoch."""

    requests: dict[str, tf.Tensor]
    items: dict[str, tf.Tensor]
    candidates: np.ndarray
    retrieval_scores: np.ndarray
    targets: np.ndarray


class Selection:
    """Scores validation rows with the ranker as it stands.

    Args:
        spec: the feature spec.
        config: section `ranking`.
        preprocessing, network: the ranker in training.
        train, validation: their rows.
        catalogue: items with the features that ranking or retrieval takes.
        towers: the exported retrieval model.

    Attributes:
        impression_labels: [n] outcomes of the validation impressions.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        config: RankingConfig,
        preprocessing: Preprocessing,
        network: DeepCrossRanker,
        train: ExampleFile,
        validation: ExampleFile,
        catalogue: Catalogue,
        towers: Towers,
    ) -> None:
        self._config, self._network = config, network
        self._parts: list[_Part] = []
        self._collect_queries(spec, preprocessing, train, validation, catalogue, towers)
        self._collect_impressions(spec, preprocessing, validation, catalogue, towers)

        @tf.function(autograph=False, reduce_retracing=True)
        def score(requests: dict[str, tf.Tensor], items: dict[str, tf.Tensor], candidates: tf.Tensor) -> Logits:
            side = network.item_side(items)
            chosen = ItemSide(tf.gather(side.vector, candidates), tf.gather(side.activity, candidates))
            return network.logits(network.query_side(requests), chosen)

        self._score = score

    def best_weights(self) -> tuple[Weights, float]:
        """The weights with the best NDCG@100 of the configured ones, and that value."""
        choices = [Weights(*pair) for pair in product(self._config.liking_weights, self._config.retrieval_weights)]
        sums = np.zeros(len(choices))
        queries = 0
        for part in self._parts:
            logits = self._score(part.requests, part.items, tf.constant(part.candidates, tf.int32))
            finding, liking = logits.finding.numpy(), logits.liking.numpy()
            queries += len(finding)
            # What lies beyond the end of the corpus stays there, with a weight of 0 too.
            beyond = np.isneginf(part.retrieval_scores)
            retrieved = np.where(beyond, 0.0, part.retrieval_scores)
            for place, weights in enumerate(choices):
                scores = np.where(beyond, -np.inf, weights.combine(finding, liking, retrieved))
                sums[place] += ndcg_at_k(candidate_ranks(scores, part.candidates, part.targets), CUTOFF).sum()
        best = int(sums.argmax())
        return choices[best], float(sums[best] / max(queries, 1))

    def impression_logits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finding logits, liking logits and retrieval scores of the validation impressions, [n] each."""
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
        return np.concatenate(finding), np.concatenate(liking), self._impression_retrieval_scores

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
        )
        for part in found:
            for start in range(0, len(part.rows), REQUESTS_AT_ONCE):
                here = slice(start, start + REQUESTS_AT_ONCE)
                rows = part.rows[here]
                # Spans of time are taken to the middle request; they change little within a snapshot.
                middle = np.full(len(catalogue), chosen.seconds[rows[len(rows) // 2]])
                items = {f.name: part.items[f.name] for f in self._network.item_features}
                self._parts.append(
                    _Part(
                        requests={name: tf.constant(values[rows]) for name, values in requests.items()},
                        items=_tensors(preprocessing.encode(items, middle)),
                        candidates=part.candidates[here],
                        retrieval_scores=part.scores[here],
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
        self.impression_labels = shown.labels
        queries = towers.embed_queries(shown.arrays(spec.request_inputs("retrieval")), shown.seconds)
        items = towers.embed_items(catalogue.features_of(shown, retrieval_items))
        self._impression_retrieval_scores = (queries * items).sum(axis=1)
        arrays = shown.arrays(self._network.query_features)
        arrays |= catalogue.features_of(shown, self._network.item_features)
        encoded = _tensors(preprocessing.encode(arrays, shown.seconds))
        self._impression_requests = {f.name: encoded[f.name] for f in self._network.query_features}
        self._impression_items = {f.name: encoded[f.name] for f in self._network.item_features}


def _tensors(arrays: Arrays) -> dict[str, tf.Tensor]:
    return {name: tf.constant(values) for name, values in arrays.items()}

"""Every metric of the candidate, the live release and the baselines, from one bootstrap over users."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from components.evaluate.config import EvaluateConfig
from components.evaluate.funnel import FunnelOutcome
from components.evaluate.moments import PastEvents
from components.evaluate.slices import Slice
from trainer.metrics import (
    Estimate,
    UserBootstrap,
    average_precision_at_k,
    catalogue_coverage,
    gini,
    hit_rate_at_k,
    intra_list_diversity,
    log_losses,
    mean_of_list,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
    roc_areas_by_weight,
    self_information,
    user_areas_under_roc,
)
from trainer.metrics.classification import bin_places

RANK_METRICS = (
    "ndcg_at_10",
    "ndcg_at_20",
    "map_at_10",
    "recall_at_10",
    "recall_at_20",
    "recall_at_50",
    "recall_at_100",
    "recall_at_1000",
)
"""Of every model. With one relevant item a query, MAP@k is MRR@k too and recall is the hit rate."""

SLICE_METRICS = ("ndcg_at_10", "recall_at_10", "recall_at_100", "ranking.user_auc")
"""Of every slice; those that a rule names come on top."""

LESS_IS_BETTER = ("log_loss", "ece", "gini_at_10")

_RANK_FUNCTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "ndcg": ndcg_at_k,
    "map": average_precision_at_k,
    "mrr": reciprocal_rank_at_k,
    "recall": recall_at_k,
    "hit_rate": hit_rate_at_k,
}
_RANKING = "ranking."
_BINS = 10


@dataclass(frozen=True)
class Answers:
    """The lists of one model and what is known of their items.

    Attributes:
        lists: [n, k] catalogue rows.
        instants: [n] int64 microseconds of the queries.
        events: all events.
        items: size of the catalogue.
        vectors: [items, d] by which items are told apart, and the distance; None where none is configured.
    """

    lists: np.ndarray
    instants: np.ndarray
    events: PastEvents
    items: int
    vectors: tuple[np.ndarray, str] | None


class Measures:
    """Metrics with their resamples, over the whole window or a slice of it.

    All models are measured on the same rows by the same resamples of users, so that differences are paired.
    """

    def __init__(
        self,
        query_users: np.ndarray,
        impression_users: np.ndarray,
        ranks: Mapping[str, np.ndarray],
        outcomes: Mapping[str, FunnelOutcome],
        samples: int,
    ):
        """Draws the resamples.

        Args:
            query_users: [n] the user of each query.
            impression_users: [r] the user of each impression.
            ranks: [n] ranks by model: `funnel`, `retrieval`, `champion` where one is compared, the baselines.
            outcomes: of `funnel`, and of `champion` where one is compared.
            samples: of users.
        """
        self.queries = UserBootstrap(query_users, samples)
        self.impressions = UserBootstrap(impression_users, samples)
        self.ranks = ranks
        self.outcomes = outcomes

    def window(self, names: Iterable[str]) -> dict[str, Estimate]:
        """Rank metrics of every model by name, such as `funnel.ndcg_at_10`, and all metrics of the ranker."""
        found = self._of_ranks(names, None)
        for model, outcome in self.outcomes.items():
            found |= {f"{_ranker(model)}.{name}": one for name, one in self._of_ranker(outcome).items()}
        return self._with_differences(found)

    def slice(self, part: Slice, names: Iterable[str]) -> dict[str, Estimate]:
        """Metrics of a slice: of ranks, and `ranking.user_auc`. What has no rows is left out."""
        names = tuple(names)
        found = self._of_ranks(names, part.queries) if part.queries.any() else {}
        if f"{_RANKING}user_auc" in names:
            for model, outcome in self.outcomes.items():
                found[f"{_ranker(model)}.user_auc"] = self._user_auc(outcome, part.impressions)
        known = {name: one for name, one in found.items() if not np.isnan(one.value)}
        return self._with_differences(known)

    def answers(self, answers: Answers) -> dict[str, Estimate]:
        """What the lists are like beyond their accuracy."""
        lists, items = answers.lists, answers.items
        queries, places = np.nonzero(lists >= 0)
        shown = lists[queries, places]

        def spread(weights: np.ndarray) -> np.ndarray:
            exposure = np.stack([np.bincount(shown, row[queries], minlength=items) for row in weights])
            return np.column_stack([catalogue_coverage(exposure), gini(exposure)])

        coverage, unevenness = self.queries.statistics(spread)
        instants = np.broadcast_to(answers.instants[:, None], lists.shape)
        counts = answers.events.count_of_items_before(np.maximum(lists, 0), instants)
        bits = self_information(counts, answers.events.count_before(instants), items)
        found = {
            "coverage_at_10": coverage.centred(),
            "gini_at_10": unevenness.centred(),
            "novelty_at_10": self.queries.mean(mean_of_list(bits, lists)),
        }
        if answers.vectors is not None:
            found["diversity_at_10"] = self.queries.mean(intra_list_diversity(lists, *answers.vectors))
        return found

    def _of_ranks(self, names: Iterable[str], rows: np.ndarray | None) -> dict[str, Estimate]:
        known = [(name, metric) for name in names if (metric := rank_metric(name)) is not None]
        labels = [f"{model}.{name}" for model in self.ranks for name, _ in known]
        values = [metric(ranks) for ranks in self.ranks.values() for _, metric in known]
        return dict(zip(labels, self.queries.means(np.stack(values, axis=1), rows), strict=True)) if values else {}

    def _of_ranker(self, outcome: FunnelOutcome) -> dict[str, Estimate]:
        labels, probabilities = outcome.labels, outcome.probabilities
        rows = self.impressions.sums(np.ones((len(labels), 1)))[:, 0]
        return {
            "user_auc": self._user_auc(outcome, None),
            "user_auc_by_impressions": self._user_auc(outcome, None, rows),
            "auc": self.impressions.statistic(roc_areas_by_weight(labels, probabilities)),
            "log_loss": self.impressions.mean(log_losses(labels, probabilities)),
            "ece": self._ece(labels, probabilities),
        }

    def _user_auc(self, outcome: FunnelOutcome, rows: np.ndarray | None, weights: np.ndarray | None = None) -> Estimate:
        """Mean of the users' own areas under ROC; users alike, or by weight [users]."""
        inside = np.ones(len(outcome.labels), bool) if rows is None else rows
        bootstrap = self.impressions
        areas = user_areas_under_roc(
            outcome.labels[inside], outcome.probabilities[inside], bootstrap.codes[inside], bootstrap.users
        )
        counted = np.where(np.isnan(areas), 0.0, 1.0 if weights is None else weights)
        return bootstrap.ratios((np.nan_to_num(areas) * counted)[:, None], counted[:, None])[0]

    def _ece(self, labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
        """Centred: noise within the bins does not cancel out, and a resample has more of it than the data."""
        inside = np.eye(_BINS)[bin_places(probabilities, _BINS)]
        gaps = self.impressions.sums(inside * (np.asarray(probabilities, np.float64) - labels)[:, None])
        value = np.abs(gaps.sum(axis=0)).sum() / len(labels)
        rows = self.impressions.resample(self.impressions.sums(inside)).sum(axis=1)
        return Estimate(float(value), np.abs(self.impressions.resample(gaps)).sum(axis=1) / rows).centred()

    def _with_differences(self, found: dict[str, Estimate]) -> dict[str, Estimate]:
        differences = {}
        for name, one in found.items():
            model, _, metric = name.partition(".")
            if model == "funnel":
                for other in (other for other in self.ranks if other not in ("funnel", "retrieval")):
                    differences[f"funnel_minus_{other}.{metric}"] = one - found[f"{other}.{metric}"]
            elif model == "ranking" and f"champion_ranking.{metric}" in found:
                differences[f"ranking_minus_champion.{metric}"] = one - found[f"champion_ranking.{metric}"]
        return found | differences


def rank_metric(name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """The metric of that name, such as `recall_at_20`, as a function of ranks; None where there is no such metric."""
    match = re.fullmatch(r"([a-z_]+)_at_([1-9]\d*)", name)
    function = _RANK_FUNCTIONS.get(match[1]) if match else None
    if match is None or function is None:
        return None
    k = int(match[2])
    return lambda ranks: function(ranks, k)


def metric_names(config: EvaluateConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The rank metrics that the window needs, and the metrics that slices need: the usual ones and those of rules."""
    regressions = [rule.metric.removeprefix("funnel.") for rule in config.regressions]
    floors = [rule.metric.rpartition(".")[2] for rule in config.floors]
    window = dict.fromkeys((*RANK_METRICS, *(rule.metric for rule in config.baselines), *floors, *regressions))
    in_slices = [name for name, rule in zip(regressions, config.regressions, strict=True) if rule.slices]
    return (
        tuple(name for name in window if rank_metric(name)),
        tuple(dict.fromkeys((*SLICE_METRICS, *in_slices))),
    )


def flatten(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Values by name, each with `.low` and `.high` of its 95% interval; what is no number is left out."""
    flat: dict[str, float] = {}
    for name, estimate in estimates.items():
        interval = estimate.interval()
        flat |= {name: interval.mean, f"{name}.low": interval.low, f"{name}.high": interval.high}
    return {name: value for name, value in flat.items() if not np.isnan(value)}


def _ranker(model: str) -> str:
    return "ranking" if model == "funnel" else "champion_ranking"

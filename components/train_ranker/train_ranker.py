"""Trains the ranker on top of the exported towers and exports it."""

from dataclasses import dataclass
from pathlib import Path

from feature_repo.item_vectors import ITEM_VECTORS
from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from trainer.config import RankingConfig


@dataclass(frozen=True)
class RankerPaths:
    """What the step reads and writes; `parent` is the name and ranker of the release that training starts from."""

    examples: Path
    item_features: Path
    user_tower: Path
    item_tower: Path
    ranker: Path
    parent: tuple[str, Path] | None = None


def train_ranker(features: FeatureSpec, config: RankingConfig, paths: RankerPaths) -> dict[str, float]:
    """Trains the ranker on the training split; the validation split decides the rest.

    Args:
        features: the feature spec.
        config: section `ranking`.
        paths: of inputs and outputs.

    Returns:
        Metrics by name.
    """
    from trainer.catalogue import Catalogue
    from trainer.examples import open_examples
    from trainer.export import export_ranker
    from trainer.ranking import train_ranking
    from trainer.scoring import Towers
    from trainer.warm_start import read_parent

    train, validation = open_examples(paths.examples, "train"), open_examples(paths.examples, "validation")
    item_inputs = dict.fromkeys((*features.inputs("item", "retrieval"), *features.inputs("item", "ranking")))
    catalogue = Catalogue(item_inputs, paths.item_features, paths.examples / ITEM_VECTORS)
    sampled = config.sampled_negatives.number
    report_progress(f"{config.model}: {len(train):,} impressions, each with {sampled} sampled items")
    towers = Towers(paths.user_tower, paths.item_tower)
    parent = read_parent(paths.parent[1], paths.parent[0]) if paths.parent else None
    model = train_ranking(features, config, train, validation, catalogue, towers, parent)
    report_progress(
        f"weights: liking {model.weights.liking:g}, retrieval score {model.weights.retrieval:g}, "
        f"similarity {model.weights.similarity:g}; "
        f"calibrated on {len(validation):,} impressions"
    )
    export_ranker(model, features, paths.ranker)
    return {
        "validation_ndcg_at_100": model.validation_ndcg,
        "validation_auc": model.validation_auc,
        "validation_user_auc": model.validation_user_auc,
        "liking_weight": model.weights.liking,
        "retrieval_weight": model.weights.retrieval,
        "similarity_weight": model.weights.similarity,
        "training_rows": len(train),
    }

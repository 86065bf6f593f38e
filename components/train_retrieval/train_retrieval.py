"""Trains retrieval and exports its towers."""

from dataclasses import dataclass
from pathlib import Path

from feature_repo.progress import report_progress
from feature_repo.spec import FeatureSpec
from trainer.config import RetrievalConfig


@dataclass(frozen=True)
class RetrievalPaths:
    """What the step reads and writes; `parent` is the name and user tower of the release that training starts from."""

    examples: Path
    item_features: Path
    user_tower: Path
    item_tower: Path
    parent: tuple[str, Path] | None = None


def train_retrieval(features: FeatureSpec, config: RetrievalConfig, paths: RetrievalPaths) -> dict[str, float]:
    """Trains the two-tower model on the training split; the validation split says when to stop.

    Args:
        features: the feature spec.
        config: section `retrieval`.
        paths: of inputs and outputs.

    Returns:
        Metrics by name.
    """
    from trainer.catalogue import Catalogue
    from trainer.examples import open_examples
    from trainer.export import export_towers
    from trainer.retrieval import train_two_tower, validation_cutoff
    from trainer.warm_start import read_parent

    train, validation = open_examples(paths.examples, "train"), open_examples(paths.examples, "validation")
    catalogue = Catalogue(features.inputs("item", "retrieval"), paths.item_features)
    positives = train.count_positives()
    report_progress(f"{positives:,} positives of {len(train):,} rows, {len(catalogue):,} items")
    parent = read_parent(paths.parent[1], paths.parent[0]) if paths.parent else None
    model = train_two_tower(features, config, train, validation, catalogue, parent)
    export_towers(model, features, paths.user_tower, paths.item_tower)
    return {
        f"validation_recall_at_{validation_cutoff(catalogue)}": model.validation_recall,
        "training_rows": len(train),
        "training_positives": positives,
    }

"""The `train_ranker` step."""

from kfp import dsl

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def train_ranker(
    config: str,
    release_store: str,
    warm_start: str,
    examples: dsl.Input[dsl.Dataset],
    item_features: dsl.Input[dsl.Dataset],
    user_tower: dsl.Input[dsl.Model],
    item_tower: dsl.Input[dsl.Model],
    ranker: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Trains the ranker, weighs in the retrieval score, calibrates and exports it."""
    from pathlib import Path

    from components.parent import parent_model
    from components.project import read_section
    from components.train_ranker.train_ranker import RankerPaths, train_ranker
    from feature_repo.spec import FeatureSpec
    from trainer.config import RankingConfig

    found = train_ranker(
        read_section(config, "features", FeatureSpec),
        read_section(config, "ranking", RankingConfig),
        RankerPaths(
            examples=Path(examples.path),
            item_features=Path(item_features.path),
            user_tower=Path(user_tower.path),
            item_tower=Path(item_tower.path),
            ranker=Path(ranker.path),
            parent=parent_model(Path(release_store), warm_start, "ranker"),
        ),
    )
    for name, value in found.items():
        metrics.log_metric(name, value)

"""The `train_retrieval` step."""

from kfp import dsl

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def train_retrieval(
    config: str,
    release_store: str,
    warm_start: str,
    examples: dsl.Input[dsl.Dataset],
    item_features: dsl.Input[dsl.Dataset],
    user_tower: dsl.Output[dsl.Model],
    item_tower: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Trains the two-tower model and exports both towers."""
    from pathlib import Path

    from components.parent import parent_model
    from components.project import read_section
    from components.train_retrieval.train_retrieval import RetrievalPaths, train_retrieval
    from feature_repo.spec import FeatureSpec
    from trainer.config import RetrievalConfig

    found = train_retrieval(
        read_section(config, "features", FeatureSpec),
        read_section(config, "retrieval", RetrievalConfig),
        RetrievalPaths(
            examples=Path(examples.path),
            item_features=Path(item_features.path),
            user_tower=Path(user_tower.path),
            item_tower=Path(item_tower.path),
            parent=parent_model(Path(release_store), warm_start, "user_tower"),
        ),
    )
    for name, value in found.items():
        metrics.log_metric(name, value)

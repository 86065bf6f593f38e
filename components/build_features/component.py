"""The step `build_features`."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def build_features(
    config: str,
    feature_store: str,
    events: Input[Dataset],
    impressions: Input[Dataset],
    users: Input[Dataset],
    items: Input[Dataset],
    examples: Output[Dataset],
    user_features: Output[Dataset],
    item_features: Output[Dataset],
    training_statistics: Output[Artifact],
    training_schema: Output[Artifact],
    metrics: Output[Metrics],
):
    """Makes feature tables and training rows as of their instants, and fills the online store."""
    import json
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from pathlib import Path

    from components.build_features.build_features import FeaturePaths, build_features
    from components.build_features.config import LeakageConfig, SplitConfig
    from components.project import read_section
    from feature_repo.spec import FeatureSpec

    read = (events, impressions, users, items)
    written = (examples, user_features, item_features, training_statistics, training_schema)
    rows = build_features(
        json.loads(config)["name"],
        read_section(config, "features", FeatureSpec),
        read_section(config, "split", SplitConfig),
        read_section(config, "leakage", LeakageConfig),
        Path(feature_store),
        FeaturePaths(*(Path(artifact.path) for artifact in (*read, *written))),
        ProcessPoolExecutor(1, get_context("spawn")),
    )
    for name, count in rows.items():
        metrics.log_metric(name, count)

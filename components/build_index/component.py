"""The `build_index` step."""

from kfp import dsl

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def build_index(
    config: str,
    item_tower: dsl.Input[dsl.Model],
    items: dsl.Input[dsl.Dataset],
    events: dsl.Input[dsl.Dataset],
    item_features: dsl.Input[dsl.Dataset],
    examples: dsl.Input[dsl.Dataset],
    index: dsl.Output[dsl.Artifact],
    item_table: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Embeds and indexes the whole catalogue, and writes the item table that goes with the index."""
    from pathlib import Path

    from components.build_index.build_index import IndexPaths, build_index
    from components.project import read_section
    from feature_repo.item_vectors import ITEM_VECTORS
    from feature_repo.spec import FeatureSpec
    from serving.config import ServingConfig

    found = build_index(
        read_section(config, "features", FeatureSpec),
        read_section(config, "serving", ServingConfig),
        IndexPaths(
            item_tower=Path(item_tower.path),
            items=Path(items.path),
            events=Path(events.path),
            item_features=Path(item_features.path),
            item_vectors=Path(examples.path) / ITEM_VECTORS,
            index=Path(index.path),
            item_table=Path(item_table.path),
        ),
    )
    for name, value in found.items():
        metrics.log_metric(name, value)

"""The `push` step."""

from kfp import dsl

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def push(
    config: str,
    release_store: str,
    run_id: str,
    code_revision: str,
    warm_start: str,
    verdict: dsl.Input[dsl.Artifact],
    user_tower: dsl.Input[dsl.Model],
    item_tower: dsl.Input[dsl.Model],
    ranker: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Artifact],
    item_table: dsl.Input[dsl.Dataset],
    training_schema: dsl.Input[dsl.Artifact],
    training_statistics: dsl.Input[dsl.Artifact],
    release: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Serves a blessed candidate on a fresh model server, releases it and makes it stable."""
    from pathlib import Path

    from components.project import read_section
    from components.push.candidate import Candidate
    from components.push.push import PushPaths, config_digest, push
    from feature_repo.spec import FeatureSpec
    from serving.config import ServingConfig

    models = {"user_tower": Path(user_tower.path), "item_tower": Path(item_tower.path), "ranker": Path(ranker.path)}
    statistics, schema = Path(training_statistics.path), Path(training_schema.path)
    parts = Candidate(
        **models, index=Path(index.path), item_table=Path(item_table.path), training_statistics=statistics
    )
    outcome = push(
        read_section(config, "features", FeatureSpec),
        read_section(config, "serving", ServingConfig),
        {
            "run_id": run_id,
            "code_revision": code_revision,
            "config_digest": config_digest(config),
            "warm_start": warm_start or None,
        },
        PushPaths(Path(verdict.path), parts, schema, Path(release_store), Path(release.path)),
    )
    metrics.log_metric("pushed", int(outcome["pushed"]))
    metrics.log_metric("version", outcome.get("version", 0))

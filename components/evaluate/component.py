"""The `evaluate` step."""

from kfp import dsl

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def evaluate(
    config: str,
    release_store: str,
    examples: dsl.Input[dsl.Dataset],
    events: dsl.Input[dsl.Dataset],
    item_features: dsl.Input[dsl.Dataset],
    user_tower: dsl.Input[dsl.Model],
    item_tower: dsl.Input[dsl.Model],
    ranker: dsl.Input[dsl.Model],
    report: dsl.Output[dsl.HTML],
    verdict: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Evaluates the funnel on the test window beside the baselines and the live release, and comes to a verdict."""
    from pathlib import Path

    from components.evaluate.config import EvaluateConfig
    from components.evaluate.evaluate import EvaluatePaths, evaluate, headlines
    from components.project import read_section
    from feature_repo.spec import FeatureSpec
    from serving.config import ServingConfig

    gateway = read_section(config, "serving", ServingConfig).gateway
    found = evaluate(
        read_section(config, "evaluate", EvaluateConfig),
        read_section(config, "features", FeatureSpec),
        gateway.candidates,
        EvaluatePaths(
            examples=Path(examples.path),
            events=Path(events.path),
            item_features=Path(item_features.path),
            user_tower=Path(user_tower.path),
            item_tower=Path(item_tower.path),
            ranker=Path(ranker.path),
            release_store=Path(release_store),
            report=Path(report.path),
            verdict=Path(verdict.path),
        ),
        gateway.history_candidates,
    )
    for name, value in headlines(found).items():
        metrics.log_metric(name.replace(".", "_"), value)

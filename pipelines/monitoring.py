"""The monitoring DAG: what is served against what the live release was trained on."""

from kfp import dsl

from components.monitor.component import monitor


@dsl.pipeline(name="recloop-monitoring", description="Compares serving with the live release's training data.")
def monitoring(config: str, release_store: str, telemetry: str) -> None:
    """One step for now: statistics and a report.

    Args:
        config: the project config as JSON.
        release_store: folder of the release store.
        telemetry: folder of what the gateway recorded.
    """
    monitor(config=config, release_store=release_store, telemetry=telemetry)

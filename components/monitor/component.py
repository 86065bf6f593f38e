"""The step `monitor`."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Metrics, Output

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def monitor(
    config: str,
    release_store: str,
    telemetry: str,
    report: Output[HTML],
    findings: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Compares what is served with what the live release was trained on.

    Args:
        config: the project config as JSON.
        release_store: folder of the release store.
        telemetry: folder of what the gateway recorded.
        report: distributions side by side, and what has moved.
        findings: status and findings as JSON.
        metrics: figures.
    """
    from datetime import UTC, datetime

    from components.monitor.config import MonitorConfig
    from components.monitor.monitor import monitor
    from components.project import read_section

    section = read_section(config, "monitor", MonitorConfig)
    found = monitor(section, release_store, telemetry, report.path, findings.path, datetime.now(UTC))
    for name, value in found.metrics().items():
        metrics.log_metric(name, value)

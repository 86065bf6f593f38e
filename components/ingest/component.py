"""The step `ingest`."""

from kfp import dsl
from kfp.dsl import Dataset, Metrics, Output

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def ingest(
    config: str,
    data_root: str,
    events: Output[Dataset],
    impressions: Output[Dataset],
    users: Output[Dataset],
    items: Output[Dataset],
    quarantine: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Reads the raw data into the canonical tables; rows that do not fit go to the quarantine.

    Args:
        config: the project config as JSON.
        data_root: folder or URI of the raw data; "" for the config's own.
        events: what users did.
        impressions: what they were shown, with the label.
        users: their attributes.
        items: their attributes.
        quarantine: rejected rows, with the reason.
        metrics: counts of rows.
    """
    from datetime import UTC, datetime

    from components.ingest.config import IngestConfig
    from components.ingest.ingest import IngestPaths, ingest
    from components.project import read_section

    paths = IngestPaths(events.path, impressions.path, users.path, items.path, quarantine.path)
    report = ingest(read_section(config, "ingest", IngestConfig), data_root, paths, datetime.now(UTC))
    for name, value in report.metrics().items():
        metrics.log_metric(name, value)

"""The step `validate`."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.image import STEP_IMAGE


@dsl.component(base_image=STEP_IMAGE, install_kfp_package=False)
def validate(
    config: str,
    events: Input[Dataset],
    impressions: Input[Dataset],
    users: Input[Dataset],
    items: Input[Dataset],
    statistics: Output[Artifact],
    schema: Output[Artifact],
    data_docs: Output[HTML],
    statistics_report: Output[HTML],
    metrics: Output[Metrics],
) -> None:
    """Checks the canonical tables; stops the run where an expectation of severity `error` is not met.

    `config` is the project config as JSON. The reports are written in either case.
    """
    from concurrent.futures import ProcessPoolExecutor
    from datetime import UTC, datetime, timedelta
    from multiprocessing import get_context

    from components.ingest.config import IngestConfig
    from components.project import read_section
    from components.validate.validate import ReportPaths, TablePaths, validate
    from feature_repo.spec import FeatureSpec

    latest = datetime.now(UTC) + timedelta(seconds=read_section(config, "ingest", IngestConfig).allow_future_seconds)
    tables = TablePaths(events.path, impressions.path, users.path, items.path)
    reports = ReportPaths(statistics.path, schema.path, data_docs.path, statistics_report.path)
    apart = ProcessPoolExecutor(1, get_context("spawn"))
    report = validate(read_section(config, "features", FeatureSpec), tables, reports, latest, apart)
    for name, value in report.metrics().items():
        metrics.log_metric(name, value)

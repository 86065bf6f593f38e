"""Decides whether ingested data may be used, and says what it looks like."""

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from components.validate.checks import Finding, check_tables
from components.validate.data_docs import describe_sample, render_data_docs
from components.validate.expectations import checked_columns, make_expectations
from components.validate.statistics import (
    Anomaly,
    find_anomalies,
    generate_statistics,
    schema_from_features,
    write_schema,
    write_statistics,
)
from components.validate.statistics_page import render_statistics
from feature_repo.errors import DataError
from feature_repo.files import write_file
from feature_repo.progress import report_progress
from feature_repo.spec import ColumnSource, FeatureSpec

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

_SIDES = {"users": "user", "items": "item", "impressions": "context"}


@dataclass(frozen=True)
class TablePaths:
    """Parquet files of the canonical tables."""

    events: Path | str
    impressions: Path | str
    users: Path | str
    items: Path | str


@dataclass(frozen=True)
class ReportPaths:
    """What validation writes: TFDV's statistics and schema of all tables, and two HTML pages."""

    statistics: Path | str
    schema: Path | str
    data_docs: Path | str
    statistics_report: Path | str


@dataclass(frozen=True)
class ValidationReport:
    """What was found."""

    findings: list[Finding]
    anomalies: dict[str, list[Anomaly]]

    def failed(self, severity: str) -> list[Finding]:
        """The expectations of a severity that are not met."""
        return [f for f in self.findings if not f.passed and f.expectation.severity == severity]

    def metrics(self) -> dict[str, float]:
        """Counts by name."""
        return {
            "expectations": float(len(self.findings)),
            "errors": float(len(self.failed("error"))),
            "warnings": float(len(self.failed("warning"))),
            "anomalies": float(sum(len(found) for found in self.anomalies.values())),
        }


def validate(
    features: FeatureSpec,
    tables: TablePaths,
    reports: ReportPaths,
    latest: datetime,
    executor: Executor | None = None,
) -> ValidationReport:
    """Checks the canonical tables and describes them.

    Args:
        features: the feature spec.
        tables: what to check.
        reports: what to write; also written when the data may not be used.
        latest: instant after which no timestamp may lie.
        executor: where statistics are computed while expectations are checked, and shut down then; a thread when
            absent. Great Expectations and TFDV each take seconds to import, so a process apart saves them.

    Raises:
        DataError: an expectation of severity `error` is not met.
    """
    read = _read(tables)
    with executor or ThreadPoolExecutor(1) as apart:
        describing = apart.submit(describe, features, tables, reports)
        findings = _check(features, read, latest)
        anomalies = describing.result()
    rows = {name: table.num_rows for name, table in read.items()}
    write_file(render_data_docs(findings, anomalies, rows).encode(), reports.data_docs)
    report = ValidationReport(findings, anomalies)
    for finding in report.failed("warning"):
        report_progress(f"warning: {_describe(finding, 1)}")
    if errors := report.failed("error"):
        more = f" ({len(errors) - 1} more errors.)" if len(errors) > 1 else ""
        raise DataError(f"{_describe(errors[0], 3)}.{more} Mend the data; all findings are in {reports.data_docs}")
    return report


def describe(features: FeatureSpec, tables: TablePaths, reports: ReportPaths) -> dict[str, list[Anomaly]]:
    """Writes statistics, schema and their report; returns where the data departs from the schema, by table."""
    read = _read(tables)
    statistics = {name: generate_statistics(table) for name, table in read.items()}
    schemas = {name: _schema(features, name, of_table) for name, of_table in statistics.items()}
    anomalies = {name: find_anomalies(of_table, schemas[name]) for name, of_table in statistics.items()}
    write_statistics(_joined(statistics), reports.statistics)
    write_schema(_nested(schemas), reports.schema)
    instants = {field.name for table in read.values() for field in table.schema if pa.types.is_timestamp(field.type)}
    write_file(render_statistics(statistics, instants).encode(), reports.statistics_report)
    return anomalies


def _read(tables: TablePaths) -> dict[str, pa.Table]:
    return {name: pq.read_table(getattr(tables, name)) for name in ("events", "impressions", "users", "items")}


def _check(features: FeatureSpec, tables: Mapping[str, pa.Table], latest: datetime) -> list[Finding]:
    keys = {"user_id": tables["users"], "item_id": tables["items"]}
    known = {key: table.column(key).combine_chunks() for key, table in keys.items() if key in table.column_names}
    checked = {
        name: checked_columns(table, known if name in ("events", "impressions") else {})
        for name, table in tables.items()
    }
    expectations = make_expectations(features, {name: table.column_names for name, table in checked.items()}, latest)
    return check_tables(expectations, {name: table.to_pandas() for name, table in checked.items()})


def _schema(features: FeatureSpec, name: str, statistics: "DatasetFeatureStatisticsList") -> "Schema":
    """Inferred from the table itself, but for the columns that features come from: those as the spec has them."""
    import tensorflow_data_validation as tfdv

    schema = tfdv.infer_schema(statistics, max_string_domain_size=0)
    sources = [
        feature.model_copy(update={"name": feature.source.column})
        for feature in (features.of(_SIDES[name]) if name in _SIDES else ())
        if isinstance(feature.source, ColumnSource)
    ]
    declared = {column.name: column for column in schema_from_features(sources, statistics).feature}
    for column in schema.feature:
        if column.name in declared:
            column.CopyFrom(declared[column.name])
    return schema


def _joined(statistics: Mapping[str, "DatasetFeatureStatisticsList"]) -> "DatasetFeatureStatisticsList":
    """One data set for each table."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    joined = statistics_pb2.DatasetFeatureStatisticsList()
    for name, of_table in statistics.items():
        joined.datasets.add().CopyFrom(of_table.datasets[0])
        joined.datasets[-1].name = name
    return joined


def _nested(schemas: Mapping[str, "Schema"]) -> "Schema":
    """One struct for each table."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    nested = schema_pb2.Schema()
    for name, schema in schemas.items():
        struct = nested.feature.add(name=name, type=schema_pb2.STRUCT).struct_domain
        struct.feature.extend(schema.feature)
    return nested


def _describe(finding: Finding, most: int) -> str:
    expectation = finding.expectation
    sample = f", such as {describe_sample(finding, most)}" if finding.sample else ""
    return f"{expectation.table}: expected that {expectation.column} {expectation.text}: {finding.observed}{sample}"

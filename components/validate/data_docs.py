"""What was expected of the data and what was found, as one HTML file."""

from collections.abc import Iterable, Mapping, Sequence

from components.page import Html, heading, page, styled, table, text, tiles
from components.validate.checks import SAMPLE_SIZE, Finding
from components.validate.statistics import Anomaly


def render_data_docs(
    findings: Sequence[Finding], anomalies: Mapping[str, Iterable[Anomaly]], rows: Mapping[str, int]
) -> str:
    """The page.

    Args:
        findings: of Great Expectations.
        anomalies: by table, where TFDV found it to depart from the schema.
        rows: number of rows of each table.
    """
    failed = [finding for finding in findings if not finding.passed]
    errors = [finding for finding in failed if finding.expectation.severity == "error"]
    listed = [(name, anomaly) for name, found in anomalies.items() for anomaly in found]
    body: list[str] = [
        tiles(
            [
                ("expectations met", f"{len(findings) - len(failed)} of {len(findings)}"),
                ("errors", styled(len(errors), "bad" if errors else "good")),
                ("warnings", styled(len(failed) - len(errors), "warn" if len(failed) > len(errors) else "good")),
                ("schema anomalies", styled(len(listed), "warn" if listed else "good")),
            ]
        )
    ]
    if listed:
        body += [
            heading("Schema anomalies", "Where TFDV's statistics depart from the schema."),
            table(("table", "column", "finding"), [(name, a.column, f"{a.short}: {a.long}") for name, a in listed]),
        ]
    for name, count in rows.items():
        of_table = [finding for finding in findings if finding.expectation.table == name]
        # What needs attention first.
        of_table.sort(key=lambda finding: (finding.passed, finding.expectation.severity))
        body.append(heading(name, f"{count:,} rows, {len(of_table)} expectations"))
        body.append(table(("column", "expectation", "severity", "result", "observed"), map(_row, of_table)))
    verdict = "The data may not be used." if errors else "The data may be used."
    return page("Data validation", f"{verdict} Checked by Great Expectations and TFDV.", body)


def describe_sample(finding: Finding, most: int = SAMPLE_SIZE) -> str:
    """At most so many offending rows on one line."""
    rows = [
        {c: v for c, v in row.items() if v is not None or c == finding.expectation.column} for row in finding.sample
    ]
    return "; ".join(", ".join(f"{column}={value!r}" for column, value in row.items()) for row in rows[:most])


def _row(finding: Finding) -> tuple[object, ...]:
    expectation = finding.expectation
    if finding.passed:
        result = styled("met", "good")
    else:
        result = styled("not met", "bad" if expectation.severity == "error" else "warn")
    observed = text(finding.observed)
    if finding.sample:
        observed = Html(f"{observed}<br><code>{text(describe_sample(finding))}</code>")
    return expectation.column, expectation.text, expectation.severity, result, observed

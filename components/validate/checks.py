"""Great Expectations at work: expectations against tables held in memory."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from components.validate.expectations import Expectation

SAMPLE_SIZE = 3
"""How many offending rows a finding shows."""

_KEYS = ("request_id", "user_id", "item_id")


@dataclass(frozen=True)
class Finding:
    """How an expectation went.

    Attributes:
        rows: how many were looked at; 0 where the expectation is not of single rows.
        offending: how many of them are not as expected.
        observed: what was seen, for people.
        sample: some offending rows: the checked column and the ids.
    """

    expectation: Expectation
    passed: bool
    rows: int
    offending: int
    observed: str
    sample: tuple[Mapping[str, Any], ...] = ()


def check_tables(expectations: Iterable[Expectation], frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Checks every expectation, in their order.

    Args:
        expectations: on the tables of `frames`.
        frames: the tables by name.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    # Nothing about the data leaves the machine.
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("tables")
    listed = list(expectations)
    findings: dict[int, Finding] = {}
    for name, frame in frames.items():
        numbered = [(number, one) for number, one in enumerate(listed) if one.table == name]
        if not numbered:
            continue
        asset = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        batch = asset.get_batch({"dataframe": frame})
        suite = gx.ExpectationSuite(name=name, expectations=[_make(number, one) for number, one in numbered])
        keys = [key for key in _KEYS if key in frame.columns]
        result_format = {
            "result_format": "SUMMARY",
            "unexpected_index_column_names": keys,
            "partial_unexpected_count": SAMPLE_SIZE,
        }
        for result in batch.validate(suite, result_format=result_format).results:
            number = cast(Any, result.expectation_config).meta["number"]
            findings[number] = _finding(listed[number], result)
    return [findings[number] for number in sorted(findings)]


def _make(number: int, expectation: Expectation) -> Any:
    import great_expectations.expectations as gxe

    return getattr(gxe, expectation.kind)(
        column=expectation.column,
        # Great Expectations' word for what stops a pipeline.
        severity="critical" if expectation.severity == "error" else expectation.severity,
        description=f"{expectation.column} {expectation.text}",
        meta={"number": number},
        **expectation.arguments,
    )


def _finding(expectation: Expectation, result: Any) -> Finding:
    detail = result.result
    rows, offending = detail.get("element_count", 0), detail.get("unexpected_count", 0)
    if "element_count" in detail:
        observed = f"{offending:,} of {rows:,} rows are not" if offending else f"all of {rows:,} rows"
    elif "observed_value" in detail:
        value = detail["observed_value"]
        observed = f"observed {value:.4g}" if isinstance(value, float) else f"observed {value}"
    elif _raised(result.exception_info):
        observed = f"cannot be checked: {_raised(result.exception_info)}"
    else:
        observed = "yes" if result.success else "no"
    sample = tuple(detail.get("partial_unexpected_index_list") or ())[:SAMPLE_SIZE]
    return Finding(expectation, bool(result.success), rows, offending, observed, sample)


def _raised(info: Mapping[str, Any]) -> str:
    """The first exception's message on one line; "" where there was none."""
    for entry in (info, *info.values()):
        if isinstance(entry, Mapping) and entry.get("exception_message"):
            return " ".join(str(entry["exception_message"]).split())
    return ""

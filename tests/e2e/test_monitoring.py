"""The monitoring DAG on what a real gateway recorded."""

import json

from pipelines.runs import run_monitoring
from tests.e2e.conftest import REQUESTS


def test_what_was_served_is_compared_with_what_the_release_was_trained_on(trained, predictions):
    shown = []
    folder, record = run_monitoring(trained.config, trained.home, lambda event, text, _: shown.append((event, text)))
    assert record.pipeline == "monitoring"
    assert [(step.name, step.status) for step in record.steps] == [("monitor", "succeeded")]
    findings = json.loads(record.artifact("monitor", "findings").read_text())
    assert findings["release"] == 1
    assert findings["requests"] == REQUESTS
    # At the end of the data everybody has done more than in the average training row; who they are has not changed.
    assert findings["status"] == "drift"
    assert "user_events" in {finding["feature"] for finding in findings["findings"]}
    assert findings["distances"]["requests"]["gender"] < trained.config.monitor.drift_threshold
    assert (folder / "reports" / "monitor-report.html").is_file()

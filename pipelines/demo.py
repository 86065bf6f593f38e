"""From nothing to an answer in one command: what `make run` shows."""

from pathlib import Path

import pyarrow.parquet as pq

from pipelines.config import ProjectConfig
from pipelines.display import StepDisplay
from pipelines.home import Home
from pipelines.reports import print_run, run_summary
from pipelines.runs import code_revision, data_root, run_training
from pipelines.serving import ask, print_answer
from serving.launch import running_services

NEXT = """\
What to try next:
  .venv/bin/recloop serve             keep the gateway and the model server running
  .venv/bin/recloop recommend 42      ask a running gateway
  .venv/bin/recloop releases          what is released, and which is live
  .venv/bin/recloop compile           the DAG as Kubeflow YAML, to upload to a cluster
  .venv/bin/recloop run --config my-project.yaml --data my-data/   your own data (see README)"""


def demonstrate(config: ProjectConfig, home: Home, data: str | None) -> None:
    """Fetches the data, runs the training DAG, serves the release and asks it for a few users."""
    print(f"recloop {code_revision()}, project {config.name}\n")
    root = data_root(config, data, print)
    print(f"Data: {root}\n\nTraining DAG:")
    folder, record = run_training(config, home, root, StepDisplay().show)
    print_run(run_summary(folder, record))

    users = _sample_users(record.artifact("ingest", "events"))
    print()
    with running_services(home.root, config.serving, report=print) as services:
        print(f"Gateway: {services.gateway_url}\n")
        for user, why in users:
            print(f"For {why}:")
            print_answer(ask(services.gateway_url, user, 5, None))
            print()
    print("Gateway and model server are stopped.\n")
    print(NEXT)


def _sample_users(events: Path) -> list[tuple[str, str]]:
    """The busiest user, the one seen last, and one that nobody knows."""
    table = pq.read_table(events, columns=["user_id", "timestamp"])
    counts = table.group_by("user_id").aggregate([("timestamp", "count"), ("timestamp", "max")]).to_pylist()
    counts.sort(key=lambda row: row["user_id"])
    busiest = max(counts, key=lambda row: row["timestamp_count"])
    latest = max(counts, key=lambda row: row["timestamp_max"])
    return [
        (busiest["user_id"], f"user {busiest['user_id']}, the busiest with {busiest['timestamp_count']} events"),
        (latest["user_id"], f"user {latest['user_id']}, seen last, with {latest['timestamp_count']} events"),
        ("newcomer", "user newcomer, of whom nothing is known"),
    ]

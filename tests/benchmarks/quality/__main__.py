"""`make bench-quality`: tunes and compares all contestants on all protocols, and writes docs/benchmarks.md."""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

# Before anything imports TensorFlow: its notes would stand between the figures.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402

from feature_repo.files import write_file  # noqa: E402
from feature_repo.progress import report_progress  # noqa: E402
from pipelines.config import load_config, shipped_configs  # noqa: E402
from tests.benchmarks.quality.contestants.registry import CONTESTANTS  # noqa: E402
from tests.benchmarks.quality.data import PROTOCOLS, DataSet, make_problem, read_data  # noqa: E402
from tests.benchmarks.quality.judging import judge_impressions  # noqa: E402
from tests.benchmarks.quality.page import render_page, show_tables  # noqa: E402
from tests.benchmarks.quality.problem import Problem, save_problem  # noqa: E402
from tests.benchmarks.quality.results import (  # noqa: E402
    CHECKOUT,
    OURS,
    PARTS,
    WITH_INTERVAL,
    Entry,
    best_peer,
    difference,
    figures,
    run_contestant,
)
from tests.benchmarks.quality.tuning import Budget  # noqa: E402

FULL = Budget(trials=20, seconds=90.0)
QUICK = Budget(trials=1, seconds=0.0)


def main() -> int:
    """Runs what the command line names; 1 when a contestant did not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality")
    parser.add_argument("--quick", action="store_true", help="one trial each, nothing written to docs/")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--home", type=Path, default=CHECKOUT / ".recloop" / "benchmarks" / "quality")
    parser.add_argument("--peers-python", type=Path, default=CHECKOUT / ".venv-quality" / "bin" / "python")
    arguments = parser.parse_args()
    budget = QUICK if arguments.quick else FULL
    config = load_config(shipped_configs()["movielens"])
    data = read_data(config, arguments.home / "tables")
    results: dict[str, Any] = {"budget": vars(budget), "protocols": {}}
    failed = 0
    for protocol in arguments.protocols:
        problem = make_problem(protocol, data, config)
        path = _write_problem(problem, data, arguments.home / protocol)
        entries: dict[str, Entry | str] = {}
        for name in arguments.contestants:
            report_progress(f"{protocol}: {CONTESTANTS[name].name}")
            out = arguments.home / "results" / ("quick" if arguments.quick else "full") / protocol / name
            entries[name] = run_contestant(name, path, out, budget, arguments.peers_python)
            failed += isinstance(entries[name], str)
        results["protocols"][protocol] = _compare(problem, entries)
        funnel = entries.get("funnel")
        if isinstance(funnel, Entry) and "probabilities" in funnel.extra:
            report_progress("impressions of the test window")
            examples = path.parent / "examples"
            results["impressions"] = judge_impressions(funnel.extra, examples, config.features, budget)
    text = json.dumps(results, indent=1)
    write_file(text.encode(), arguments.home / ("quick.json" if arguments.quick else "results.json"))
    print(show_tables(results))
    whole = arguments.protocols == list(PROTOCOLS) and arguments.contestants == list(CONTESTANTS)
    if whole and not arguments.quick:
        write_file(render_page(results).encode(), CHECKOUT / "docs" / "benchmarks.md")
    return int(failed > 0)


def _write_problem(problem: Problem, data: DataSet, folder: Path) -> Path:
    path = folder / "problem.npz"
    save_problem(problem, path)
    with (folder / "ids.npz").open("wb") as file:
        np.savez(file, users=data.user_ids.astype(str), items=data.item_ids.astype(str))
    return path


def _compare(problem: Problem, entries: dict[str, Entry | str]) -> dict[str, Any]:
    """Rows of the table, paired differences to the best peer, and what each contestant's tuning was."""
    phase = problem.test
    rows: dict[str, Any] = {}
    ranks: dict[str, np.ndarray] = {}
    for name, entry in entries.items():
        if isinstance(entry, str):
            rows[CONTESTANTS[name].name] = {"missing": entry}
            continue
        for row, of_row in entry.ranks.items():
            ranks[row] = of_row
            rows[row] = figures(phase, of_row) | {"seconds_to_train": entry.record["seconds_to_train"][row]}
    measured = {row: values for row, values in rows.items() if "missing" not in values}
    differences = {}
    for ours in (OURS, *PARTS):
        for metric in WITH_INTERVAL:
            peer = best_peer(measured, metric)
            if ours in measured and peer is not None:
                value = difference(phase, ranks[ours], ranks[peer], metric)
                differences[f"{ours}.{metric}"] = {"peer": peer, "difference": value}
    return {
        "queries": len(np.unique(phase.pair_queries)),
        "items_asked_for": len(phase.pair_items),
        "users": len(np.unique(phase.query_users)),
        "training_rows": len(phase.log),
        "rows": rows,
        "differences": differences,
        "tuning": {name: entry.record for name, entry in entries.items() if isinstance(entry, Entry)},
    }


if __name__ == "__main__":
    sys.exit(main())

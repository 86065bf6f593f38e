"""Running, keeping and showing the results of `make bench-quality`."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.quality.impressions import per_user_auc
from tests.benchmarks.quality.page import render_page
from tests.benchmarks.quality.problem import Log, Problem, save_problem
from tests.benchmarks.quality.protocols import last_one, split_by_user
from tests.benchmarks.quality.ranks import METRICS
from tests.benchmarks.quality.results import Entry, best_peer, difference, figures, run_contestant
from tests.benchmarks.quality.tuning import Budget

ONE_TRIAL = Budget(1, 0.0)


def write_problem(folder: Path, liked: list[int]) -> Path:
    """User 0 likes some items in turn, and then user 1 item 4."""
    items = np.array([*liked, 4])
    log = Log(np.array([0] * len(liked) + [1]), items, np.arange(len(items)), np.ones(len(items), bool))
    validation, test = split_by_user(log, last_one)
    save_problem(Problem(validation, test, np.eye(6), np.eye(2)), folder / "problem.npz")
    np.savez(folder / "ids.npz", users=np.array(["0", "1"]), items=np.array(list("012345")))
    return folder / "problem.npz"


def test_a_finished_contestant_is_not_run_again_until_its_problem_changes(tmp_path) -> None:
    problem, out = write_problem(tmp_path, [0, 1, 2, 4]), tmp_path / "results" / "popularity"

    first = run_contestant("popularity", problem, out, ONE_TRIAL, Path("unused"))
    assert isinstance(first, Entry)
    # Training has 0, 1, 2 and 4 once each; item 4 is asked for, and of what is left 4 alone has a like.
    assert first.ranks["popularity"].tolist() == [1]

    out.with_suffix(".log").write_text("untouched", encoding="utf-8")
    again = run_contestant("popularity", problem, out, ONE_TRIAL, Path("unused"))
    assert isinstance(again, Entry)
    assert out.with_suffix(".log").read_text(encoding="utf-8") == "untouched"

    problem = write_problem(tmp_path, [0, 1, 2, 3])
    changed = run_contestant("popularity", problem, out, ONE_TRIAL, Path("unused"))
    assert isinstance(changed, Entry)
    # Item 3 is asked for; 4 has a like, 3 and 5 have none.
    assert changed.ranks["popularity"].tolist() == [2]


def test_a_contestant_whose_environment_is_missing_says_so(tmp_path) -> None:
    problem = write_problem(tmp_path, [0, 1, 2, 3])

    found = run_contestant("ials", problem, tmp_path / "ials", ONE_TRIAL, tmp_path / "no" / "python")

    assert isinstance(found, str)
    assert "is missing" in found


def test_the_best_peer_is_none_of_the_projects_own() -> None:
    rows = {"funnel": {"m": 0.9}, "retrieval alone": {"m": 0.8}, "EASE": {"m": 0.5}, "popularity": {"m": 0.1}}

    assert best_peer(rows, "m") == "EASE"


def test_figures_and_differences_are_means_over_queries(tmp_path) -> None:
    log = Log(np.repeat([0, 1], 3), np.array([0, 1, 2, 0, 1, 3]), np.arange(6), np.ones(6, bool))
    _, test = split_by_user(log, last_one)

    found = figures(test, np.array([1.0, 3.0]))

    assert found["ndcg_at_10"] == pytest.approx((1 + 1 / 2) / 2)
    low, high = found["ndcg_at_10.interval"]
    assert (low, high) == (0.5, 1.0)
    mean, low, high = difference(test, np.array([1.0, 3.0]), np.array([3.0, 3.0]), "ndcg_at_10")
    assert (mean, low, high) == (0.25, 0.0, 0.5)


def test_auc_within_users_leaves_out_who_has_one_outcome_only() -> None:
    users = np.array(["a", "a", "b", "b", "b", "b", "c"])
    labels = np.array([1, 0, 1, 0, 0, 0, 1])
    scores = np.array([0.9, 0.1, 0.5, 0.6, 0.4, 0.1, 0.9])

    # User a: 1; user b: its like is above two of three; c has no dislike.
    assert per_user_auc(users, labels, scores) == pytest.approx(((1 + 2 / 3) / 2, (2 * 1 + 4 * 2 / 3) / 6))


def results(funnel: float) -> dict:
    """Results of one protocol with a funnel, a peer and one that did not run."""
    row = {name: 0.5 for name in METRICS} | {"seconds_to_train": 1.0, "ndcg_at_10.interval": [0.4, 0.6]}
    record = {"contestant": "EASE", "trials": [{}], "best": {"value": 0.5, "params": {"regularisation": 500.0}}}
    found = {
        "queries": 10,
        "items_asked_for": 12,
        "users": 5,
        "rows": {"EASE": row, "BPR": {"missing": "no compiler"}, "funnel": row | {"ndcg_at_10": funnel}},
        "differences": {"funnel.ndcg_at_10": {"peer": "EASE", "difference": [funnel - 0.5, -0.3, 0.2]}},
        "tuning": {"ease": record},
    }
    protocols = {name: found for name in ("time", "leave_last_one_out", "user_last_tenth")}
    return {"budget": {"trials": 20, "seconds": 240.0}, "protocols": protocols}


def test_the_page_says_where_the_funnel_is_behind_and_who_did_not_run() -> None:
    page = render_page(json.loads(json.dumps(results(0.45))))

    assert "the funnel is behind EASE by 0.0500 NDCG@10, within the interval" in page
    assert "| BPR | did not run: no compiler |" in page
    assert "12 items asked for in 10 queries of 5 users" in page
    assert "at most 20 trials, and none starts after 4 minutes" in page
    assert "{{" not in page


def test_the_page_marks_the_best_of_each_column() -> None:
    page = render_page(results(0.75))

    assert "**0.7500** (0.4000 to 0.6000)" in page
    assert "ahead of EASE by 0.2500 NDCG@10" in page

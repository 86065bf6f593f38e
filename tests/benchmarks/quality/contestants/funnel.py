"""The project's funnel, trained and run by the product's own steps."""

import contextlib
import copy
import hashlib
import io
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.quality.contestants.contestant import Answer, Contestant, Params
from tests.benchmarks.quality.problem import Phase, Problem

EPOCH_LINE = re.compile(r"epoch (\d+): .*?validation \S+ ([\d.]+)")
NEVER_STOP = 1000
FOREVER_SECONDS = 10**10
FINAL_WEIGHTS = ("liking_weight", "retrieval_weight", "similarity_weight")


def _answer(problem: Problem, phase: Phase, params: Params, found: Params | None) -> Answer:
    """Trains retrieval and the ranker, then runs both over the moments.

    In tuning and for the rows `funnel` and `retrieval alone`, training rows are those of the validation round's log,
    and the rows that came until the test are the validation split, on which the product stops early, weighs and
    calibrates: as the DAG does it. In the test round the rows `... refitted` are from models that were trained again
    on both, with the epochs and weights found.
    """
    run = _Run(problem, params)
    trained = run.train(None)
    ranks = run.ranks(trained, phase)
    answers = {"funnel": ranks[0], "retrieval alone": ranks[1]}
    if found is None:
        return Answer(answers, trained.seconds, trained.found)
    extra = run.judge_impressions(trained) if phase.moves_on else {}
    again = run.train(found)
    refitted = run.ranks(again, phase)
    answers |= {"funnel, refitted": refitted[0], "retrieval alone, refitted": refitted[1]}
    seconds = {
        "retrieval alone": trained.retrieval_seconds,
        "funnel, refitted": again.seconds,
        "retrieval alone, refitted": again.retrieval_seconds,
    }
    return Answer(answers, trained.seconds, trained.found, extra, seconds)


@dataclass(frozen=True)
class _Trained:
    """A folder with the examples and the exported models, what training found and how long it took."""

    folder: Path
    found: Params
    retrieval_seconds: float
    seconds: float

    @property
    def towers(self) -> tuple[Path, Path]:
        return self.folder / "user_tower", self.folder / "item_tower"

    @property
    def ranker(self) -> Path:
        return self.folder / "ranker"

    @property
    def examples(self) -> Path:
        return self.folder / "examples"


class _Run:
    """The product's steps on one problem with one set of parameters.

    Args:
        problem: rounds, with the product's tables in its folder.
        params: dotted keys of the project config; `items_as_of` says of when the candidates' features are: the
            query's `instant`, or the `end` of what is learned from, or in training too (`static`).
    """

    def __init__(self, problem: Problem, params: Params) -> None:
        from tests.benchmarks.quality.funnel_tables import Ids

        settings = dict(params)
        self.problem, self.items_as_of, self.settings = problem, settings.pop("items_as_of"), settings
        self.config = configured(settings)
        self.spec = self.config.features
        with np.load(problem.folder / "ids.npz", allow_pickle=False) as stored:
            self.ids = Ids(stored["users"].astype(object), stored["items"].astype(object))

    def train(self, found: Params | None) -> _Trained:
        """Trains both stages; with `found` on all that comes before the test, for the epochs and weights found."""
        from components.build_features.item_vectors import write_item_vectors
        from components.train_ranker.train_ranker import RankerPaths, train_ranker
        from components.train_retrieval.train_retrieval import RetrievalPaths, train_retrieval
        from feature_repo.item_vectors import ITEM_VECTORS
        from tests.benchmarks.quality.funnel_tables import make_rows, write_examples

        config = self.config if found is None else configured(self.settings | _fixed(found))
        phase = self.problem.validation if found is None else self.problem.test
        tables = self._tables(phase)
        items = tables.latest_item_features if self.items_as_of == "static" else tables.item_features
        settings = json.dumps([dict(self.settings), self.items_as_of, found], sort_keys=True)
        folder = self.problem.folder / "models" / hashlib.sha256(settings.encode()).hexdigest()[:16]
        if (folder / "found.json").exists():
            return _Trained(folder, **json.loads((folder / "found.json").read_text(encoding="utf-8")))

        def rows(users: np.ndarray, codes: np.ndarray, times: np.ndarray, labels: np.ndarray) -> Any:
            return make_rows(self.spec, users, codes, times, labels, self.ids, tables.user_features, items)

        log = phase.log
        trained = _Trained(folder, {}, 0.0, 0.0)
        write_examples(
            trained.examples,
            {
                "train": rows(log.users, log.items, log.times, log.positives.astype(np.int8)),
                "validation": rows(*_held_out(self.problem)),
            },
        )
        shared = self.problem.folder.parent
        vectors = trained.examples / ITEM_VECTORS
        write_item_vectors(self.spec, shared / "tables" / "items.parquet", vectors, shared / "text_vectors")
        begun = time.perf_counter()
        now: dict[str, Any] = {}
        with _heard() as lines:
            train_retrieval(self.spec, config.retrieval, RetrievalPaths(trained.examples, items, *trained.towers))
        retrieval_seconds = time.perf_counter() - begun
        now["retrieval.epochs"] = best_epoch(lines.getvalue())
        with _heard() as lines:
            paths = RankerPaths(trained.examples, items, *trained.towers, trained.ranker)
            metrics = train_ranker(self.spec, config.ranking, paths)
        now["ranking.epochs"] = best_epoch(lines.getvalue())
        now |= {f"ranking.{name}s": [metrics[name]] for name in FINAL_WEIGHTS}
        seconds = time.perf_counter() - begun
        whole = {"found": now, "retrieval_seconds": retrieval_seconds, "seconds": seconds}
        (folder / "found.json").write_text(json.dumps(whole), encoding="utf-8")
        return _Trained(folder, **whole)

    def ranks(self, trained: _Trained, phase: Phase) -> tuple[np.ndarray, np.ndarray]:
        """[p] ranks of the items asked for, by the funnel and by retrieval alone."""
        from tests.benchmarks.quality.funnel_tables import make_moments

        tables = self._tables(phase)
        items = tables.item_features if self.items_as_of == "instant" else tables.latest_item_features
        moments = make_moments(self.spec, phase, self.ids, tables.user_features, items)
        order = np.argsort(phase.pair_moments, kind="stable")
        outcome = self._run(trained, moments, (phase.pair_moments[order], phase.pair_items[order]), items)
        funnel, retrieval = np.empty(len(order)), np.empty(len(order))
        funnel[order], retrieval[order] = outcome.ranks, outcome.retrieval_ranks
        return funnel, retrieval

    def judge_impressions(self, trained: _Trained) -> dict[str, np.ndarray]:
        """Probabilities of every impression of the test window, by the ranker."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from components.evaluate.moments import find_moments, read_events
        from tests.benchmarks.quality.funnel_tables import make_rows, write_examples

        phase = self.problem.test
        tables = self._tables(phase)
        log = phase.visible.take(np.arange(len(phase.log), len(phase.visible)))
        labels = log.positives.astype(np.int8)
        rows = make_rows(
            self.spec, log.users, log.items, log.times, labels, self.ids, tables.user_features, tables.item_features
        )
        # Other classifiers judge the same impressions: they find all rows here.
        learned = {name: pq.read_table(trained.examples / f"{name}.parquet") for name in ("train", "validation")}
        write_examples(self.problem.folder / "examples", {**learned, "test": rows})
        catalogue = pa.array(self.ids.items, pa.string())
        events = read_events(pq.read_table(tables.user_features.with_name("events.parquet")), catalogue)
        moments = find_moments(rows, events, catalogue)
        nothing = (np.empty(0, np.int64), np.empty(0, np.int64))
        outcome = self._run(trained, moments, nothing, tables.item_features)
        of_moment = np.repeat(np.arange(len(moments.users)), [len(items) for items in moments.impressions])
        return {
            "users": moments.users[of_moment].astype(str),
            "items": self.ids.items[np.concatenate(moments.impressions)].astype(str),
            "labels": outcome.labels,
            "probabilities": outcome.probabilities,
        }

    def _run(self, trained: _Trained, moments: Any, targets: tuple[np.ndarray, np.ndarray], items: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from components.evaluate.funnel import FunnelModels, run_funnel
        from feature_repo.item_vectors import ITEM_VECTORS

        once = self.items_as_of != "instant"
        with _heard():
            return run_funnel(
                FunnelModels(self.spec, *trained.towers, trained.ranker),
                moments,
                targets,
                pq.read_table(items),
                pa.array(self.ids.items, pa.string()),
                self.config.serving.gateway.candidates,
                FOREVER_SECONDS if once else self.config.evaluate.item_refresh_seconds,
                item_vectors=trained.examples / ITEM_VECTORS,
            )

    def _tables(self, phase: Phase) -> Any:
        from tests.benchmarks.quality.funnel_tables import make_feature_tables

        log = phase.visible
        digest = hashlib.sha256(self.spec.model_dump_json().encode())
        for values in (log.users, log.items, log.times, log.positives):
            digest.update(values.tobytes())
        folder = self.problem.folder / "features" / digest.hexdigest()[:16]
        return make_feature_tables(self.spec, log, self.ids, self.problem.folder.parent / "tables", folder)


def configured(overrides: Params) -> Any:
    """The shipped project config with values replaced by dotted keys; features are found by their name."""
    from pipelines.config import ProjectConfig, load_config, shipped_configs

    raw: Any = load_config(shipped_configs()["movielens"]).model_dump(mode="json")
    for key, value in overrides.items():
        *path, last = key.split(".")
        place = raw
        for part in path:
            place = next(one for one in place if one["name"] == part) if isinstance(place, list) else place[part]
        place[last] = copy.deepcopy(value)
    return ProjectConfig.model_validate_json(json.dumps(raw))


def best_epoch(text: str) -> int:
    """The epoch with the best validation metric of the progress lines of a training."""
    found = [(float(value), -int(epoch)) for epoch, value in EPOCH_LINE.findall(text)]
    if not found:
        raise ValueError(f"training shows a line for every epoch. Received: {text[-200:]!r}.")
    return -max(found)[1]


def _fixed(found: Params) -> dict[str, Any]:
    """Overrides that train for the epochs found, with the weights found, whatever validation says."""
    return dict(found) | {"retrieval.patience": NEVER_STOP, "ranking.patience": NEVER_STOP}


def _held_out(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Users, items, times and labels of the rows between the validation round's log and the test's.

    Where time splits they keep their instants. Else a user's rows are of the instant of the user's query, which is
    the one at which their features must not know them yet.
    """
    before, log = problem.validation.log, problem.test.log
    pairs = log.users * problem.items + log.items
    kept = ~np.isin(pairs, before.users * problem.items + before.items)
    times = log.times[kept]
    if not problem.validation.moves_on:
        instants = np.zeros(int(log.users.max()) + 1, np.int64)
        instants[problem.validation.users] = problem.validation.times
        times = instants[log.users[kept]]
    return log.users[kept], log.items[kept], times, log.positives[kept].astype(np.int8)


@contextlib.contextmanager
def _heard() -> Any:
    """What is printed inside, which nobody else sees."""
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        yield heard


FUNNEL = Contestant(
    "funnel",
    _answer,
    {"items_as_of": "instant"},
    {
        "items_as_of": ("instant", "end", "static"),
        "retrieval.epochs": (6, 10),
        "retrieval.dropout": (0.3, 0.4, 0.5),
        "retrieval.shuffle_batches": (1, 2, 8),
        "retrieval.learning_rate": (0.002, 0.003, 0.005),
        "retrieval.embedding_dimension": (48, 64, 96),
        "retrieval.sampled_negatives": (0, 1),
        "retrieval.item_id_dropout": (0.0, 0.02),
        "ranking.epochs": (3, 5),
        "ranking.dropout": (0.2, 0.3, 0.4),
        "ranking.learning_rate": (0.002, 0.003, 0.005),
        "ranking.similarity.decay": (0.8, 0.85, 0.9),
    },
)

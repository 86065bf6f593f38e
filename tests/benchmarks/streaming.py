"""Training on rows that are streamed from Parquet: memory and speed as the number of rows grows."""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from feature_repo.spec import FeatureSpec

SIZES = (100_000, 1_000_000, 10_000_000)
ITEMS = 10_000
ROWS_A_USER = 50
VALIDATION = 20_000
SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {"name": "age", "kind": "numeric", "source": {"column": "age"}},
            {"name": "user_likes", "kind": "numeric", "source": {"aggregate": "count"}, "transform": {"type": "log"}},
            {
                "name": "user_last_items",
                "kind": "sequence",
                "length": 10,
                "source": {"aggregate": "last"},
                "transform": {"type": "vocabulary", "of": "item_id"},
            },
        ],
        "item": [
            {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
            {"name": "category", "kind": "categorical", "source": {"column": "category"}},
            {"name": "item_events", "kind": "numeric", "source": {"aggregate": "count"}, "transform": {"type": "log"}},
        ],
    }
)


def run(sizes: tuple[int, ...] = SIZES) -> None:
    """One epoch of retrieval and of the ranker for each number of rows, each in a process of its own."""
    print(f"Training on streamed rows, one epoch, {ITEMS:,} items")
    print(f"  {'rows':>12} {'retrieval':>16} {'ranker':>16} {'private memory':>16} {'ratio':>8}")
    smallest = None
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder), rows)
            child = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.streaming", "--train", folder], capture_output=True, text=True
            )
        if child.returncode:
            sys.exit(child.stderr)
        found = json.loads(child.stdout.splitlines()[-1])
        smallest = smallest or found["peak_megabytes"]
        print(
            f"  {rows:>12,} {found['retrieval']:>10,.0f} rows/s {found['ranker']:>9,.0f} rows/s "
            f"{found['peak_megabytes']:>13,.0f} MB {found['peak_megabytes'] / smallest:>8.2f}",
            flush=True,
        )
    print()


def write_rows(folder: Path, rows: int) -> None:
    """Examples and item features of made-up events: users like the items of one of ten categories."""
    (folder / "examples").mkdir(parents=True)
    users = max(rows // ROWS_A_USER, 1)
    category = f"(hash(item) % {ITEMS}) % 10"
    events = f"""
        SELECT place, place * 1000000 + 1600000000000000 AS instant,
               hash(place) % {users} AS "user",
               floor({ITEMS} * power((hash(place * 7 + 3) % 1000003) / 1000003.0, 2))::BIGINT AS item
        FROM range({rows + VALIDATION}) numbers(place)
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET memory_limit = '2GB'")
        connection.execute(f"CREATE VIEW events AS {events}")
        row = f"""
            SELECT 'r' || place AS request_id, 'u' || "user" AS user_id, 'i' || item AS item_id,
                   make_timestamptz(instant) AS timestamp,
                   CASE WHEN hash(place * 13) % 100 < (CASE WHEN {category} = "user" % 10 THEN 90 ELSE 30 END)
                        THEN 1 ELSE 0 END::TINYINT AS label,
                   ("user" % 60)::FLOAT AS age, (place % 40)::FLOAT AS user_likes,
                   list_transform(range(10), k -> 'i' || (hash(place * 31 + k) % {ITEMS})) AS user_last_items,
                   'c' || ({category}) AS category, (place * 1.0 / {ITEMS})::FLOAT AS item_events
            FROM events
        """
        for split, condition in (("train", f"place < {rows}"), ("validation", f"place >= {rows}")):
            path = folder / "examples" / f"{split}.parquet"
            connection.execute(
                f"COPY ({row} WHERE {condition} ORDER BY place) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 65536)"
            )
        connection.execute(f"""
            COPY (
                SELECT 'i' || item AS item_id, make_timestamptz(0) AS event_timestamp, 'c' || ({category}) AS category,
                       0::FLOAT AS item_events FROM range({ITEMS}) items(item)
                UNION ALL
                SELECT 'i' || item, make_timestamptz(instant + 1), 'c' || ({category}), (place * 1.0 / {ITEMS})::FLOAT
                FROM events WHERE place < {rows}
            ) TO '{folder / "item_features.parquet"}' (FORMAT parquet)
        """)


def train(folder: Path) -> dict[str, float]:
    """Rows a second of both trainings, and the most private memory of the process in megabytes."""
    from trainer.catalogue import Catalogue
    from trainer.config import RankingConfig, RetrievalConfig
    from trainer.examples import open_examples
    from trainer.export import export_towers
    from trainer.ranking import train_ranking
    from trainer.retrieval import train_two_tower
    from trainer.scoring import Towers

    peak = _PeakMemory()
    splits = [open_examples(folder / "examples", split) for split in ("train", "validation")]
    rows = len(splits[0])
    catalogue = Catalogue(SPEC.inputs("item", "ranking"), folder / "item_features.parquet")
    retrieval = RetrievalConfig(epochs=1, batch_size=4096, embedding_dimension=32, validation_queries=2000)
    ranking = RankingConfig(epochs=1, batch_size=4096, selection_queries=500, sampled_negatives=2)

    def train_retrieval() -> None:
        model = train_two_tower(SPEC, retrieval, *splits, catalogue)
        export_towers(model, SPEC, folder / "user_tower", folder / "item_tower")

    def train_ranker() -> None:
        train_ranking(SPEC, ranking, *splits, catalogue, Towers(folder / "user_tower", folder / "item_tower"))

    found = {"retrieval": rows / _seconds(train_retrieval), "ranker": rows / _seconds(train_ranker)}
    return {**found, "peak_megabytes": peak.stop()}


class _PeakMemory:
    """Watches the process' private memory; pages of files that are mapped do not count, the system may drop them."""

    def __init__(self) -> None:
        self._peak, self._running = 0.0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._running:
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self._peak = max(self._peak, kilobytes / 1024)
            time.sleep(0.2)

    def stop(self) -> float:
        self._running = False
        self._thread.join()
        return self._peak


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--train")
    print(json.dumps(train(Path(parser.parse_args().train))))

"""A project small enough to train in seconds: MovieLens' own columns and config, 60 people, 80 films."""

from pathlib import Path

import numpy as np
import yaml

from pipelines.config import shipped_configs

GENRES = ("Action", "Comedy", "Drama", "Horror")
START = 880_000_000
USERS, ITEMS, EVENTS = 60, 80, 3000


def write_tiny_project(folder: Path) -> Path:
    """Writes data and config below `folder`; returns the config's path.

    Every person likes one genre; films come into fashion one after another. The same data every time.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    random = np.random.default_rng(11)
    genre_of = random.integers(len(GENRES), size=ITEMS)
    taste_of = random.integers(len(GENRES), size=USERS)

    write_rows(
        data / "ml-100k.user",
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        [f"u{u}\t{18 + u % 50}\t{'FM'[u % 2]}\t{('artist', 'lawyer', 'student')[u % 3]}\t0" for u in range(USERS)],
    )
    write_rows(
        data / "ml-100k.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        [f"i{i}\tThe {GENRES[genre_of[i]]} Film {i}\t{1960 + i % 38}\t{GENRES[genre_of[i]]}" for i in range(ITEMS)],
    )
    rows, had = [], set()
    for event in range(EVENTS):
        user = int(random.integers(USERS))
        fashionable = (event * ITEMS // EVENTS + random.integers(-30, 8)) % ITEMS
        item = int(fashionable if random.random() < 0.7 else random.integers(ITEMS))
        if (user, item) in had:
            continue
        had.add((user, item))
        likes = genre_of[item] == taste_of[user]
        rating = int(random.integers(4, 6) if random.random() < (0.85 if likes else 0.25) else random.integers(1, 4))
        rows.append(f"u{user}\ti{item}\t{rating}\t{START + event * 3600}")
    write_rows(data / "ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", rows)

    config = yaml.safe_load(Path(shipped_configs()["movielens"]).read_text(encoding="utf-8"))
    config["name"] = "tiny"
    config["ingest"] = {**config["ingest"], "root": str(data)}
    del config["ingest"]["dataset"]
    config["retrieval"] = {**config.get("retrieval", {}), "epochs": 2}
    config["ranking"] = {**config.get("ranking", {}), "epochs": 1}
    # So little data proves nothing about quality: the gates have tests of their own.
    config["evaluate"] = {"bootstrap_samples": 50, "segments": ["gender"], "item_refresh_seconds": 86400}
    return write_config(folder, config)


def write_config(folder: Path, config: dict) -> Path:
    path = folder / "project.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def write_rows(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")

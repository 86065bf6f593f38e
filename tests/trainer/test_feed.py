import numpy as np
import pytest

from tests.trainer.test_examples import write
from trainer import feed as feeding
from trainer.feed import Feed


@pytest.fixture(params=["kept in memory", "read every epoch"])
def feed(request, tmp_path, monkeypatch):
    if request.param == "read every epoch":
        monkeypatch.setattr(feeding, "KEPT_ROWS", 0)
    file = write(tmp_path / "train.parquet", list(range(20)))
    asked = []

    def prepare(part, number):
        asked.append(number)
        return {"at": part.instants, "features": {"twice": (2 * part.instants[:, None]).astype(np.float32)}}

    return Feed(file, prepare), asked


def epoch(feed, seed):
    return [
        (batch["at"].numpy().tolist(), batch["features"]["twice"].numpy()[:, 0].tolist())
        for batch in feed.batches(3, 1, np.random.default_rng(seed))
    ]


def test_an_epoch_gives_whole_batches_of_every_part_with_rows_kept_together(feed):
    batches = epoch(feed[0], 0)
    assert [len(at) for at, _ in batches] == [3] * 6
    assert all(twice == [2.0 * one for one in at] for at, twice in batches)
    seen = [one for at, _ in batches for one in at]
    assert len(set(seen)) == 18
    # A batch never mixes parts.
    assert all(len({one // 7 for one in at}) == 1 for at, _ in batches)


def test_the_order_differs_from_epoch_to_epoch_and_is_the_seeds(feed):
    assert epoch(feed[0], 0) != epoch(feed[0], 1)
    assert epoch(feed[0], 0) == epoch(feed[0], 0)


def test_only_what_is_kept_is_prepared_once(feed, request):
    for seed in range(3):
        epoch(feed[0], seed)
    kept = request.node.callspec.params["feed"] == "kept in memory"
    assert len(feed[1]) == (3 if kept else 9)


def test_both_ways_give_the_same_batches(tmp_path, monkeypatch):
    file = write(tmp_path / "train.parquet", list(range(20)))
    found = []
    for kept in (100, 0):
        monkeypatch.setattr(feeding, "KEPT_ROWS", kept)
        prepare = lambda part, _: {"at": part.instants, "features": {"twice": 2.0 * part.instants[:, None]}}  # noqa: E731
        found.append(epoch(Feed(file, prepare), 4))
    assert found[0] == found[1]

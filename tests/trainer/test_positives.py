import numpy as np
import pytest

from tests.trainer.tiny_tables import SPEC, write_tables
from trainer.catalogue import Catalogue
from trainer.config import RetrievalConfig
from trainer.engagements import Engagements
from trainer.examples import open_examples
from trainer.feed import learn_preprocessing
from trainer.positives import HardNegatives, Positives
from trainer.two_tower import TwoTower


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    examples, item_features = write_tables(tmp_path_factory.mktemp("positives"))
    return open_examples(examples, "train"), Catalogue(SPEC.inputs("item", "retrieval"), item_features)


def make(tables, **options):
    train, catalogue = tables
    config = RetrievalConfig(embedding_dimension=4, hidden_units=(8,), **options)
    preprocessing = learn_preprocessing(SPEC, "retrieval", train)
    network = TwoTower(SPEC.request_inputs("retrieval"), SPEC.inputs("item", "retrieval"), preprocessing.sizes, config)
    positives = Positives(config, preprocessing, catalogue, network, np.ones(8))
    part = train.with_features(SPEC.all).part(0)
    prepared = positives.prepare(part, 0)
    # Builds the layers.
    network.embed_query(prepared["query"])
    network.embed_item({**{n: v[prepared["codes"]] for n, v in positives.attributes.items()}, **prepared["items"]})
    return positives, part, prepared


def test_only_positives_count_unless_any_does(tables):
    _, part, prepared = make(tables)
    assert len(prepared["codes"]) == (part.labels > 0).sum()
    _, part, prepared = make(tables, positives="any")
    assert len(prepared["codes"]) == len(part)


def test_sampled_items_have_their_features_as_of_the_row(tables):
    positives, part, prepared = make(tables, sampled_negatives=3)
    rows, _ = positives.select(part)
    sampled = prepared["sampled"]
    assert sampled["codes"].shape == (len(rows), 3)
    for row in (0, len(rows) - 1):
        raw = positives.catalogue.dynamic_at(sampled["codes"][row], np.full(3, rows.instants[row]))
        expected = positives.preprocessing.encode(raw)["events"]
        assert sampled["items"]["events"][row] == pytest.approx(expected)
    assert len(np.unique(prepared["sampled"]["codes"])) == 8
    assert (positives.prepare(part, 0)["sampled"]["codes"] == sampled["codes"]).all()


@pytest.fixture
def mined(tables):
    """Hard negatives of a model that scores items by their place in the catalogue."""

    def mine(spec, **options):
        positives, part, _ = make(tables, **options)
        positives.embed_items = lambda items: (
            np.eye(8, 4, dtype=np.float32) * 0 + np.arange(8, dtype=np.float32)[:, None]
        )
        rows, codes = positives.select(part)
        # Nobody had engaged with anything but the first row's user, with the last item.
        engagements = Engagements(rows.user_ids[:1], np.array([7]), np.array([-1]))
        miner = HardNegatives(spec, positives, engagements)
        miner._embed = lambda encoded: type("V", (), {"numpy": lambda self: np.ones((len(rows), 4), np.float32)})()
        return rows, codes, miner.find(part)["hard"]

    return mine


def test_hard_negatives_are_the_best_but_the_positive_and_what_the_user_had(mined):
    rows, codes, hard = mined(SPEC, hard_negatives=2)
    had = rows.user_ids == rows.user_ids[0]
    for row, code in enumerate(codes):
        best = [item for item in range(7, -1, -1) if item != code and not (had[row] and item == 7)]
        assert hard["codes"][row].tolist() == best[:2], row
    assert hard["usable"].all()


def test_the_very_best_are_passed_over_when_configured(mined):
    _, codes, hard = mined(SPEC, hard_negatives=1, hard_skip=2)
    row = int(np.flatnonzero(codes < 3)[-1])
    assert hard["codes"][row].tolist() == [5] or hard["codes"][row].tolist() == [4]


def test_what_the_user_had_is_a_negative_where_items_are_consumed_repeatedly(mined):
    repeatedly = SPEC.model_copy(update={"consumption": "repeatedly"})
    rows, codes, hard = mined(repeatedly, hard_negatives=1)
    assert hard["codes"][0].tolist() == [7 if codes[0] != 7 else 6]


def test_negatives_beyond_the_end_of_the_corpus_are_not_usable(mined):
    _, _, hard = mined(SPEC, hard_negatives=9)
    # Of eight items one is the positive; the first row's user had one more.
    assert hard["codes"].shape[1] == 9
    assert hard["usable"][0].sum() in (6, 7) and hard["usable"].sum(axis=1).max() == 7

import numpy as np
import pytest

from tests.trainer.test_training import RETRIEVAL
from tests.trainer.tiny_tables import SPEC, write_tables
from trainer import retrieval as training
from trainer.catalogue import Catalogue
from trainer.config import RetrievalConfig
from trainer.examples import open_examples
from trainer.retrieval import train_two_tower

LEARNING = {"epochs": 30, "patience": 30, "learning_rate": 0.03}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    examples, item_features = write_tables(tmp_path_factory.mktemp("options"))
    return open_examples(examples, "train"), Catalogue(SPEC.inputs("item", "retrieval"), item_features)


def train(tables, spec=SPEC, **options):
    rows, catalogue = tables
    return train_two_tower(spec, RETRIEVAL.model_copy(update=options), rows, rows, catalogue)


def separation(model, tables):
    """How often a user's mean score of the items that they like is above that of the others."""
    rows, catalogue = tables
    some = rows.with_features(SPEC.all).part(0)
    arrays = some.arrays(SPEC.request_inputs("retrieval"))
    queries = model.network.embed_query(model.preprocessing.encode(arrays, some.seconds)).numpy()
    items = catalogue.snapshots(some.instants[-1:])[0]
    scores = queries @ model.network.embed_item(model.preprocessing.encode(items)).numpy().T
    parity = np.array([int(item[1:]) % 2 for item in catalogue.item_ids])
    likes = np.array([int(user[1:]) % 2 for user in some.user_ids])
    own = np.array([row[parity == like].mean() for row, like in zip(scores, likes, strict=True)])
    other = np.array([row[parity != like].mean() for row, like in zip(scores, likes, strict=True)])
    return float(np.mean(own > other))


@pytest.mark.parametrize(
    "options",
    [
        {"history_encoder": "gru"},
        {"history_encoder": "self_attention"},
        {"sampled_negatives": 2},
        {"hard_negatives": 2, "hard_skip": 1},
        {"loss": "contrastive", "normalise": True, "temperature": 0.2},
        {"normalise": True, "temperature": 0.2, "sampled_negatives": 1, "hard_negatives": 1},
    ],
)
def test_every_option_learns_what_users_like(tables, options):
    assert separation(train(tables, **LEARNING, **options), tables) > 0.8


def test_normalised_items_have_length_one_and_the_temperature_is_in_the_query(tables):
    model = train(tables, normalise=True, temperature=0.5, epochs=1)
    rows, catalogue = tables
    some = rows.with_features(SPEC.all).part(0)
    items = model.network.embed_item(model.preprocessing.encode(catalogue.snapshots(some.instants[:1])[0])).numpy()
    assert np.linalg.norm(items, axis=1) == pytest.approx(np.ones(8), rel=1e-5)
    arrays = some.arrays(SPEC.request_inputs("retrieval"))
    queries = model.network.embed_query(model.preprocessing.encode(arrays, some.seconds)).numpy()
    assert np.linalg.norm(queries, axis=1) == pytest.approx(np.full(len(some), 2.0), rel=1e-5)


def test_an_item_without_events_is_near_those_of_its_kind(tables):
    model = train(tables, **LEARNING, item_id_dropout=0.4)
    _, catalogue = tables
    every = catalogue.snapshots(np.array([0]))[0]
    known = model.network.embed_item(model.preprocessing.encode(every)).numpy()
    parity = np.array([int(item[1:]) % 2 for item in catalogue.item_ids])
    fresh = {name: values[:2].copy() for name, values in every.items()}
    fresh["item_id"] = np.array(["fresh even", "fresh odd"], object)
    fresh["tags"] = np.array([["even", ""], ["odd", ""]], object)
    fresh["title"] = np.array(["The even one", "The odd one"], object)
    vectors = model.network.embed_item(model.preprocessing.encode(fresh)).numpy()
    for kind, vector in enumerate(vectors):
        own, other = known[parity == kind].mean(axis=0), known[parity != kind].mean(axis=0)
        assert vector @ own > vector @ other
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


def test_hidden_ids_train_the_row_that_stands_for_unknown_items(tables):
    def unknown_row(**options):
        model = train(tables, **{"epochs": 2, **options})
        return model.network.embedding.tables["item_id"].embeddings.numpy()[1]

    # Nothing reads the row in training unless ids are hidden: it stays as it was drawn.
    assert unknown_row(item_id_dropout=0.0) == pytest.approx(unknown_row(item_id_dropout=0.0, epochs=1), abs=1e-7)
    assert np.abs(unknown_row(item_id_dropout=0.5) - unknown_row(item_id_dropout=0.0)).max() > 1e-3


def test_hidden_histories_leave_context_and_attributes_to_learn_from(tables):
    network = train(tables, epochs=1, history_dropout=0.0).network
    plain = {"last_items": np.ones((400, 3), np.int32), "age": np.zeros(400, np.float32)}
    hidden = training._without_histories(plain, network, 0.25)
    share = 1.0 - float(np.mean(hidden["last_items"].numpy()[:, 0]))
    assert 0.15 < share < 0.35
    assert (hidden["last_items"].numpy().std(axis=1) == 0).all()
    assert hidden["age"] is plain["age"]
    assert training._without_histories(plain, network, 0.0) is plain


def test_history_is_a_negative_only_where_items_are_consumed_repeatedly(tables, monkeypatch):
    asked = []
    mask = training.mask_history
    monkeypatch.setattr(training, "mask_history", lambda *given: asked.append(1) or mask(*given))
    train(tables, epochs=1)
    assert asked
    asked.clear()
    train(tables, spec=SPEC.model_copy(update={"consumption": "repeatedly"}), epochs=1)
    assert not asked


def test_a_contrast_of_vectors_of_any_length_is_refused():
    with pytest.raises(ValueError, match="set normalise to true"):
        RetrievalConfig(loss="contrastive")

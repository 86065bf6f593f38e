import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from feature_repo.errors import ConfigError, DataError
from feature_repo.spec import FeatureSpec
from tests.trainer.tiny_tables import SPEC, write_tables
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig, RetrievalConfig
from trainer.dcn import DeepCrossRanker
from trainer.examples import ExampleFile, from_table, open_examples
from trainer.export import export_ranker, export_towers
from trainer.inputs import Preprocessing
from trainer.ranking import train_ranking
from trainer.retrieval import train_two_tower
from trainer.scoring import ExportedModel, ExportedRanker, Towers
from trainer.two_tower import TwoTower

RETRIEVAL = RetrievalConfig(
    embedding_dimension=4,
    hidden_units=(8,),
    history_pools=2,
    epochs=2,
    batch_size=8,
    dropout=0.0,
    item_id_dropout=0.0,
    shuffle_batches=2,
)
RANKING = RankingConfig(embedding_dimension=4, user_units=8, item_units=8, hidden_units=(8,), epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    examples, item_features = write_tables(folder)
    splits = {split: open_examples(examples, split) for split in ("train", "validation", "test")}
    catalogue = Catalogue(SPEC.inputs("item", "ranking"), item_features)
    retrieval = train_two_tower(SPEC, RETRIEVAL, splits["train"], splits["validation"], catalogue)
    export_towers(retrieval, SPEC, folder / "user_tower", folder / "item_tower")
    towers = Towers(folder / "user_tower", folder / "item_tower")
    ranking = train_ranking(SPEC, RANKING, splits["train"], splits["validation"], catalogue, towers)
    export_ranker(ranking, SPEC, folder / "ranker")
    return folder, splits, catalogue, retrieval, ranking


def signature(folder):
    return {name: (spec.dtype, spec.shape.as_list()) for name, spec in ExportedModel(folder).inputs.items()}


def test_towers_take_what_the_contract_names(trained):
    folder = trained[0]
    assert signature(folder / "user_tower") == {
        "age": (tf.float32, [None]),
        "city": (tf.string, [None]),
        "likes": (tf.float32, [None]),
        "last_event_at": (tf.int64, [None]),
        "last_items": (tf.string, [None, 3]),
        "hour": (tf.string, [None]),
        "timestamp": (tf.int64, [None]),
    }
    assert signature(folder / "item_tower") == {
        "item_id": (tf.string, [None]),
        "tags": (tf.string, [None, 2]),
        "title": (tf.string, [None]),
        "events": (tf.float32, [None]),
    }


def test_ranker_takes_one_request_and_many_candidates(trained):
    taken = signature(trained[0] / "ranker")
    assert {name for name, (_, shape) in taken.items() if shape[0] == 1} == {
        *("age", "city", "likes", "last_event_at", "last_items", "hour", "timestamp")
    }
    assert {name for name, (_, shape) in taken.items() if shape[0] is None} == {
        *("item_id", "tags", "title", "events", "item_last_event_at", "retrieval_score")
    }


def test_exported_towers_embed_as_the_trained_ones(trained):
    folder, splits, _, retrieval, _ = trained
    test = splits["test"].with_features(SPEC.all).part(0)
    towers = Towers(folder / "user_tower", folder / "item_tower")
    arrays = test.arrays(SPEC.request_inputs("retrieval"))
    expected = retrieval.network.embed_query(retrieval.preprocessing.encode(arrays, test.seconds)).numpy()
    assert towers.embed_queries(arrays, test.seconds) == pytest.approx(expected, abs=1e-6)
    items = test.arrays(SPEC.inputs("item", "retrieval"))
    expected = retrieval.network.embed_item(retrieval.preprocessing.encode(items)).numpy()
    assert towers.embed_items(items) == pytest.approx(expected, abs=1e-6)


def test_scoring_many_requests_gives_what_each_request_is_served(trained):
    folder, splits, catalogue, _, ranking = trained
    ranker = ExportedRanker(folder / "ranker")
    test = splits["test"].with_features(SPEC.all).part(0)
    requests = test.arrays(SPEC.request_inputs("ranking"))
    items = catalogue.snapshots(test.instants[:1])[0]
    random = np.random.default_rng(0)
    candidates = np.stack([random.permutation(8)[:5] for _ in range(len(test))])
    retrieval_score = random.normal(size=candidates.shape).astype(np.float32)
    many = ranker.score_many(requests, test.seconds, items, candidates, retrieval_score)
    for row in range(len(test)):
        one = ranker.score(
            {name: values[row : row + 1] for name, values in requests.items()},
            int(test.seconds[row]),
            {name: values[candidates[row]] for name, values in items.items()},
            retrieval_score[row],
        )
        assert one["score"] == pytest.approx(many["score"][row], abs=1e-6)
        assert one["probability"] == pytest.approx(many["probability"][row], abs=1e-6)
    assert len(np.unique(many["score"])) > 20


def test_the_score_is_the_calibrated_sum_of_its_parts(trained):
    folder, splits, catalogue, _, ranking = trained
    test = splits["test"].with_features(SPEC.all).part(0).take(np.array([0]))
    encoded = ranking.preprocessing.encode(
        test.arrays((*SPEC.request_inputs("ranking"), *SPEC.inputs("item", "ranking"))), test.seconds
    )
    query = ranking.network.query_side(encoded)
    side = ranking.network.item_side({name: value[None] for name, value in encoded.items()})
    logits = ranking.network.logits(query, side)
    slope, intercept = ranking.score_calibration
    finding, liking = float(logits.finding), float(logits.liking)
    total = finding + ranking.weights.liking * liking + ranking.weights.retrieval * 0.7
    found = ExportedRanker(folder / "ranker").score(
        test.arrays(SPEC.request_inputs("ranking")),
        int(test.seconds[0]),
        test.arrays(SPEC.inputs("item", "ranking")),
        np.array([0.7], np.float32),
    )
    assert found["score"][0] == pytest.approx(1 / (1 + np.exp(-slope * total - intercept)), abs=1e-6)


def test_retrieval_learns_which_parity_a_user_likes(trained):
    folder, splits, catalogue, _, _ = trained
    config = RETRIEVAL.model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.03})
    # The best epoch is chosen on the training rows themselves: ten validation rows are too few to choose by.
    model = train_two_tower(SPEC, config, splits["train"], splits["train"], catalogue)
    rows = splits["test"].with_features(SPEC.all).part(0)
    queries = model.network.embed_query(
        model.preprocessing.encode(rows.arrays(SPEC.request_inputs("retrieval")), rows.seconds)
    ).numpy()
    items = catalogue.snapshots(rows.instants[:1])[0]
    vectors = model.network.embed_item(model.preprocessing.encode(items)).numpy()
    parity = np.array([int(item[1:]) % 2 for item in catalogue.item_ids])
    likes = np.array([int(user[1:]) % 2 for user in rows.user_ids])
    scores = queries @ vectors.T
    own = np.array([row[parity == like].mean() for row, like in zip(scores, likes, strict=True)])
    other = np.array([row[parity != like].mean() for row, like in zip(scores, likes, strict=True)])
    assert np.mean(own > other) > 0.9


def test_the_same_seed_trains_the_same_towers(trained):
    _, splits, catalogue, retrieval, _ = trained
    again = train_two_tower(SPEC, RETRIEVAL, splits["train"], splits["validation"], catalogue)
    for one, other in zip(retrieval.network.get_weights(), again.network.get_weights(), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_request_side_work_of_the_ranker_does_not_depend_on_the_candidates(trained):
    *_, ranking = trained
    arrays = {
        "age": np.array([30.0], np.float32),
        "city": np.array(["Ulm"], object),
        "likes": np.array([1.0], np.float32),
        "last_event_at": np.array([5], np.int64),
        "last_items": np.array([["i1", "", ""]], object),
        "hour": np.array(["0"], object),
    }
    side = ranking.network.query_side(ranking.preprocessing.encode(arrays, np.array([100])))
    assert side.vector.shape == [1, 4]
    assert side.interests.shape == [1, 4, 4]


def test_training_is_refused_without_positives(trained, tmp_path):
    _, splits, catalogue, _, _ = trained
    rows = splits["train"].with_features(SPEC.all).part(0)
    pq.write_table(rows.take(rows.labels == 0).table, tmp_path / "train.parquet")
    negatives = ExampleFile(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="at least 2 positive"):
        train_two_tower(SPEC, RETRIEVAL, negatives, splits["validation"], catalogue)


def test_reading_a_split_is_refused_without_positives(trained, tmp_path):
    rows = trained[1]["train"].part(0)
    pq.write_table(rows.take(rows.labels == 0).table, tmp_path / "test.parquet")
    with pytest.raises(DataError, match="test split has no positive row"):
        open_examples(tmp_path, "test")


def test_models_are_refused_when_nothing_tells_items_apart():
    spec = FeatureSpec.model_validate(
        {
            "user": [{"name": "age", "kind": "numeric", "source": {"column": "age"}}],
            "item": [{"name": "events", "kind": "numeric", "source": {"aggregate": "count"}}],
        }
    )
    sizes = Preprocessing((*spec.user, *spec.item), {}, {}).sizes
    with pytest.raises(ConfigError, match="ranking has no feature that tells items apart"):
        DeepCrossRanker(spec.user, spec.item, sizes, RANKING)
    with pytest.raises(ConfigError, match="retrieval has no feature"):
        TwoTower(spec.user, (), sizes, RETRIEVAL)


def test_examples_keep_their_order_when_taken(trained):
    train = trained[1]["train"].part(0)
    part = train.take(np.array([3, 1]))
    assert part.user_ids.tolist() == [train.user_ids[3], train.user_ids[1]]
    assert from_table(part.table).instants.tolist() == part.instants.tolist()


def test_what_users_chose_is_found_whether_they_liked_it_or_not(trained):
    folder, splits, catalogue, _, _ = trained
    towers = Towers(folder / "user_tower", folder / "item_tower")
    rows = splits["train"].with_features(SPEC.all).part(0)
    disliked = rows.take(rows.labels == 0)
    arrays = disliked.arrays((*SPEC.request_inputs("ranking"), *SPEC.inputs("item", "ranking")))
    found = {}
    for choices in (False, True):
        config = RANKING.model_copy(update={"impressions_are_choices": choices, "epochs": 4, "learning_rate": 0.03})
        model = train_ranking(SPEC, config, splits["train"], splits["validation"], catalogue, towers)
        encoded = model.preprocessing.encode(arrays, disliked.seconds)
        items = model.network.item_side({name: values[:, None] for name, values in encoded.items()})
        found[choices] = float(np.mean(model.network.logits(model.network.query_side(encoded), items).finding))
    assert found[True] > found[False] + 0.5


def test_a_weight_is_chosen_from_those_configured(trained):
    folder, splits, catalogue, _, ranking = trained
    assert ranking.weights.liking in RANKING.liking_weights
    assert ranking.weights.retrieval in RANKING.retrieval_weights
    towers = Towers(folder / "user_tower", folder / "item_tower")
    config = RANKING.model_copy(update={"liking_weights": (7.0,), "retrieval_weights": (-3.0,), "epochs": 1})
    model = train_ranking(SPEC, config, splits["train"], splits["validation"], catalogue, towers)
    assert model.weights == (7.0, -3.0)

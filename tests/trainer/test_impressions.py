import numpy as np
import pytest

from tests.trainer.tiny_tables import SPEC, write_tables
from trainer.candidates import top_k
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig, RetrievalConfig, SampledNegatives
from trainer.engagements import Engagements
from trainer.examples import open_examples
from trainer.export import export_ranker, export_towers
from trainer.feed import count_items, learn_preprocessing
from trainer.impressions import ImpressionLists, candidates
from trainer.negatives import RetrievedNegatives
from trainer.rankers.making import make_ranker
from trainer.ranking import train_ranking
from trainer.retrieval import train_two_tower
from trainer.scoring import ExportedRanker, Towers
from trainer.warm_start import read_parent

RETRIEVAL = RetrievalConfig(embedding_dimension=4, hidden_units=(8,), history_pools=2, epochs=1, batch_size=8)
RANKING = RankingConfig(
    embedding_dimension=4, user_units=8, item_units=8, hidden_units=(8,), liking_units=(4,), epochs=1, batch_size=16
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    examples, item_features = write_tables(folder)
    splits = [open_examples(examples, split) for split in ("train", "validation", "test")]
    catalogue = Catalogue(SPEC.inputs("item", "ranking"), item_features)
    model = train_two_tower(SPEC, RETRIEVAL, splits[0], splits[1], catalogue)
    export_towers(model, SPEC, folder / "user_tower", folder / "item_tower")
    return folder, splits, catalogue, Towers(folder / "user_tower", folder / "item_tower")


def lists(tables, config, spec=SPEC):
    _, (train, *_), catalogue, towers = tables
    preprocessing = learn_preprocessing(SPEC, "ranking", train)
    engagements = Engagements.read((train.path,), catalogue.item_ids)
    retrieved = RetrievedNegatives(spec, catalogue, towers, engagements, config.sampled_negatives.retrieval_depth)
    return ImpressionLists(
        spec,
        config,
        preprocessing,
        make_ranker(SPEC, preprocessing, config),
        catalogue,
        count_items(train, catalogue, positives_only=False),
        engagements,
        retrieved,
    )


def test_the_best_retrieved_are_drawn_and_nothing_the_user_had(tables):
    _, (train, *_), catalogue, towers = tables
    rows = train.with_features(SPEC.all).part(0)
    engagements = Engagements.read((train.path,), catalogue.item_ids)
    drawn = RetrievedNegatives(SPEC, catalogue, towers, engagements, depth=2).draw(rows, 2, np.random.default_rng(0))
    codes = catalogue.codes(rows.item_ids)
    queries = towers.embed_queries(rows.arrays(SPEC.request_inputs("retrieval")), rows.seconds)
    # The first slice of time has features as of its first row.
    first = np.array_split(np.arange(len(rows)), 8)[0]
    items = catalogue.snapshots(rows.instants[:1])[0]
    scores = queries[first] @ towers.embed_items({f.name: items[f.name] for f in SPEC.inputs("item", "retrieval")}).T
    for row in first:
        had = {int(code) for other, code in enumerate(codes[:row]) if rows.user_ids[other] == rows.user_ids[row]}
        scores[row, sorted(had)] = -np.inf
        assert set(drawn[row]) <= set(top_k(scores[row : row + 1], 2)[0].tolist())
    for row in range(len(rows)):
        had = {int(code) for other, code in enumerate(codes[:row]) if rows.user_ids[other] == rows.user_ids[row]}
        assert not had & set(drawn[row].tolist())


def test_a_row_gets_nothing_when_the_user_had_everything_retrieved(tables):
    _, (train, *_), catalogue, towers = tables
    rows = train.with_features(SPEC.all).part(0).take(np.array([40]))
    everything = Engagements(np.repeat(rows.user_ids, 8), np.arange(8), np.zeros(8, np.int64))
    drawn = RetrievedNegatives(SPEC, catalogue, towers, everything, 3).draw(rows, 2, np.random.default_rng(0))
    assert drawn.tolist() == [[-1, -1]]


@pytest.mark.parametrize(("share", "from_retrieval"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_the_share_says_how_many_are_drawn_from_retrieval(tables, share, from_retrieval, monkeypatch):
    config = RANKING.model_copy(update={"sampled_negatives": SampledNegatives(number=4, from_retrieval=share)})
    asked = []

    def draw(self, rows, per_row, generator):
        asked.append(per_row)
        return np.full((len(rows), per_row), -1)

    monkeypatch.setattr(RetrievedNegatives, "draw", draw)
    made = lists(tables, config)
    batch = made.prepare(tables[1][0].with_features(SPEC.all).part(0), 0)
    assert batch["codes"].shape[1] == 5
    assert asked == ([from_retrieval] if from_retrieval else [])
    # What retrieval could not give is not usable.
    assert not batch["usable"][:, 5 - from_retrieval :].any()


def test_lists_hold_the_shown_item_first_and_only_unseen_items_are_usable(tables):
    config = RANKING.model_copy(update={"sampled_negatives": SampledNegatives(number=3, from_retrieval=0.34)})
    rows = tables[1][0].with_features(SPEC.all).part(0)
    made = lists(tables, config)
    batch = made.prepare(rows, 0)
    codes = tables[2].codes(rows.item_ids)
    assert batch["codes"][:, 0].tolist() == codes.tolist()
    assert batch["usable"][:, 0].all()
    for row in range(len(rows)):
        had = {int(c) for other, c in enumerate(codes[: row + 1]) if rows.user_ids[other] == rows.user_ids[row]}
        for code, usable in zip(batch["codes"][row, 1:], batch["usable"][row, 1:], strict=True):
            assert not (usable and int(code) in had)
    assert len(np.unique(batch["user"])) == len(set(rows.user_ids))
    items = candidates(batch, made.attributes())
    assert {name: tuple(values.shape[:2]) for name, values in items.items()} == {
        f.name: (len(rows), 4) for f in SPEC.inputs("item", "ranking")
    }
    found = made.found(batch).numpy()
    assert found[:, 0].tolist() == rows.labels.tolist()
    assert not found[:, 1:].any()


@pytest.mark.parametrize(
    "options",
    [
        {"model": "dlrm"},
        {"model": "boosted_trees"},
        {"loss": "listwise", "within_users": 1.0, "calibration": "isotonic"},
        {"loss": "pairwise", "sampled_negatives": SampledNegatives(number=2, from_retrieval=0.5)},
    ],
)
def test_every_ranker_is_served_by_one_signature(tables, options, tmp_path):
    _, (train, validation, test), catalogue, towers = tables
    if options.get("model") == "boosted_trees":
        few = RANKING.boosted_trees.model_copy(update={"rows_in_leaf": 2, "trees": 5, "objective": "lambdarank"})
        options = {**options, "boosted_trees": few}
    config = RANKING.model_copy(update=options)
    model = train_ranking(SPEC, config, train, validation, catalogue, towers)
    export_ranker(model, SPEC, tmp_path / "ranker")
    ranker = ExportedRanker(tmp_path / "ranker")
    rows = test.with_features(SPEC.all).part(0)
    requests = rows.arrays(SPEC.request_inputs("ranking"))
    items = catalogue.snapshots(rows.instants[:1])[0]
    places = np.tile(np.arange(8), (len(rows), 1))
    retrieval_score = np.random.default_rng(0).normal(size=places.shape).astype(np.float32)
    many = ranker.score_many(requests, rows.seconds, items, places, retrieval_score)
    one = ranker.score(
        {name: values[3:4] for name, values in requests.items()}, int(rows.seconds[3]), items, retrieval_score[3]
    )
    for name in ("score", "probability"):
        assert one[name] == pytest.approx(many[name][3], abs=1e-6)
        assert ((many[name] >= 0) & (many[name] <= 1)).all()
    again = train_ranking(SPEC, config, train, validation, catalogue, towers)
    assert again.validation_auc == pytest.approx(model.validation_auc, abs=1e-4)
    assert again.validation_ndcg == pytest.approx(model.validation_ndcg, abs=1e-4)


@pytest.mark.parametrize("model", ["dcn_v2", "dlrm"])
def test_a_ranker_that_has_not_been_trained_on_scores_as_its_parent(tables, tmp_path, capsys, model):
    _, (train, validation, test), catalogue, towers = tables
    config = RANKING.model_copy(update={"model": model})
    first = train_ranking(SPEC, config, train, validation, catalogue, towers)
    export_ranker(first, SPEC, tmp_path / "ranker")
    still = config.model_copy(update={"epochs": 0, "liking_epochs": 0, "seed": 5})
    parent = read_parent(tmp_path / "ranker", "release 3")
    child = train_ranking(SPEC, still, train, validation, catalogue, towers, parent)
    assert child.validation_auc == pytest.approx(first.validation_auc, abs=1e-6)
    assert child.validation_ndcg == pytest.approx(first.validation_ndcg, abs=1e-6)
    assert "started from release 3" in capsys.readouterr().out


def test_what_a_user_had_is_a_negative_where_items_are_consumed_repeatedly(tables):
    train = tables[1][0]
    rows = train.with_features(SPEC.all).part(0)
    config = RANKING.model_copy(
        update={"sampled_negatives": SampledNegatives(number=6, from_retrieval=0.5, retrieval_depth=8)}
    )
    once = lists(tables, config).prepare(rows, 0)
    spec = SPEC.model_copy(update={"consumption": "repeatedly"})
    again = lists(tables, config, spec).prepare(rows, 0)
    # Every sampled item counts but the one that was shown.
    assert (again["usable"][:, 1:] == (again["codes"][:, 1:] != again["codes"][:, :1])).all()
    assert again["usable"][-20:].mean() > once["usable"][-20:].mean()
    # Retrieval hands on what users had, too: nothing is missing at the end of the corpus.
    codes = {user: set() for user in np.unique(rows.user_ids)}
    repeated = 0
    for row, (user, own) in enumerate(zip(rows.user_ids, again["codes"][:, 0], strict=True)):
        repeated += len(codes[user] & set(again["codes"][row, 4:].tolist()))
        codes[user].add(int(own))
    assert repeated > 10

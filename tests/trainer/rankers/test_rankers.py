"""What every ranker must do, and what each option changes."""

import numpy as np
import pytest
import tensorflow as tf

from feature_repo.errors import ConfigError
from feature_repo.spec import FeatureSpec
from trainer.config import RankingConfig
from trainer.inputs import Preprocessing
from trainer.rankers.boosted_trees import fit_trees
from trainer.rankers.making import make_ranker

SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {"name": "age", "kind": "numeric", "source": {"column": "age"}, "transform": {"type": "identity"}},
            {"name": "city", "kind": "categorical", "source": {"column": "city"}},
            {
                "name": "liked_tags",
                "kind": "embedding",
                "length": 2,
                "source": {"aggregate": "share", "of": "positive", "by": "tags", "values": ["odd", "even"]},
            },
            {
                "name": "last_likes",
                "kind": "sequence",
                "length": 3,
                "source": {"aggregate": "last", "of": "positive"},
                "transform": {"type": "vocabulary", "of": "item_id"},
            },
            {
                "name": "last_items",
                "kind": "sequence",
                "length": 4,
                "source": {"aggregate": "last"},
                "transform": {"type": "vocabulary", "of": "item_id"},
            },
        ],
        "item": [
            {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
            {"name": "tags", "kind": "sequence", "length": 2, "source": {"column": "tags"}},
            {"name": "year", "kind": "numeric", "source": {"column": "year"}, "transform": {"type": "identity"}},
            {
                "name": "events",
                "kind": "numeric",
                "source": {"aggregate": "count"},
                "transform": {"type": "identity"},
            },
        ],
    }
)
VOCABULARIES = {"item_id": [f"i{place}" for place in range(6)], "tags": ["odd", "even"], "city": ["Ulm", "Bern"]}
CONFIG = RankingConfig(
    embedding_dimension=4, feature_dimension=3, user_units=8, item_units=8, hidden_units=(8,), cross_rank=2
)
REQUESTS = {
    "age": tf.constant([3.0, -1.0]),
    "city": tf.constant([2, 0]),
    "liked_tags": tf.constant([[0.7, 0.3], [0.0, 0.0]]),
    "last_likes": tf.constant([[4, 2, 0], [0, 0, 0]]),
    "last_items": tf.constant([[4, 3, 2, 0], [0, 0, 0, 0]]),
}
ITEMS = {
    "item_id": tf.constant([2, 3, 4, 5, 6, 7]),
    "tags": tf.constant([[2, 0], [3, 0], [2, 3], [0, 0], [3, 0], [2, 0]]),
    "year": tf.constant([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    "events": tf.constant([5.0, 4.0, 3.0, 2.0, 1.0, 0.0]),
}
CANDIDATES = tf.constant([[0, 1, 2, 3], [5, 4, 3, 2]])
NEURAL = ("dcn_v2", "dlrm")
MODELS = (*NEURAL, "boosted_trees")


def make(**options):
    preprocessing = Preprocessing((*SPEC.user, *SPEC.item), VOCABULARIES, {})
    ranker = make_ranker(SPEC, preprocessing, CONFIG.model_copy(update=options))
    if options.get("model") == "boosted_trees":
        query = ranker.query_side(REQUESTS)
        rows = ranker.rows(query, ranker.item_side(ITEMS).take(CANDIDATES)).numpy().reshape(8, -1)
        few = ranker.config.boosted_trees.model_copy(update={"rows_in_leaf": 1, "trees": 5, "feature_share": 1.0})
        labels = np.array([0, 1, 0, 1, 1, 0, 1, 1])
        ranker.ensembles = [
            fit_trees(rows, labels, ranker.categorical_columns, None, few, 1),
            fit_trees(rows, 1 - labels, ranker.categorical_columns, np.array([4, 4]), few, 1),
        ]
    return ranker


def logits(ranker, requests=REQUESTS, items=ITEMS, candidates=CANDIDATES):
    return ranker.logits(ranker.query_side(requests), ranker.item_side(items).take(candidates))


@pytest.mark.parametrize("model", MODELS)
def test_a_ranker_gives_two_logits_for_each_candidate_of_each_request(model):
    found = logits(make(model=model))
    assert found.finding.shape == found.liking.shape == (2, 4)
    assert np.isfinite(found.finding).all() and np.isfinite(found.liking).all()
    assert not np.allclose(found.finding, found.liking)


@pytest.mark.parametrize("model", MODELS)
def test_candidates_and_requests_do_not_disturb_one_another(model):
    ranker = make(model=model)
    together = logits(ranker)
    for row in range(2):
        alone = {name: values[row : row + 1] for name, values in REQUESTS.items()}
        for place in range(4):
            one = logits(ranker, alone, candidates=CANDIDATES[row : row + 1, place : place + 1])
            assert one.finding.numpy().item() == pytest.approx(float(together.finding[row, place]), abs=1e-5)
            assert one.liking.numpy().item() == pytest.approx(float(together.liking[row, place]), abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_items_can_be_prepared_before_their_activity_is_known(model):
    ranker = make(model=model)
    attributes = {name: values for name, values in ITEMS.items() if name != "events"}
    side = ranker.item_attributes(attributes).take(CANDIDATES)
    numbers = {"events": tf.gather(ITEMS["events"], CANDIDATES)}
    side = side._replace(activity=ranker.item_activity(numbers, side.vector))
    found = ranker.logits(ranker.query_side(REQUESTS), side)
    assert found.finding.numpy() == pytest.approx(logits(ranker).finding.numpy(), abs=1e-6)


@pytest.mark.parametrize("model", NEURAL)
def test_padding_of_histories_changes_nothing(model):
    ranker = make(model=model)
    before = logits(ranker).finding.numpy()
    table = ranker.embedding.tables["item_id"].embeddings
    table.assign(tf.tensor_scatter_nd_update(table, [[0]], [[50.0, -50.0, 50.0, -50.0]]))
    assert logits(ranker).finding.numpy() == pytest.approx(before, abs=1e-5)


@pytest.mark.parametrize("model", NEURAL)
def test_whether_history_was_liked_matters_only_to_target_attention(model):
    liked = {**REQUESTS, "last_likes": tf.constant([[4, 2, 3], [0, 0, 0]])}
    ranker = make(model=model, target_attention=True)
    outcomes = ranker.query_side(liked).histories[1].outcomes.numpy()
    assert outcomes.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert ranker.query_side(REQUESTS).histories[1].outcomes.numpy().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert not make(model=model, target_attention=False).attention


@pytest.mark.parametrize("model", NEURAL)
@pytest.mark.parametrize("option", ["target_attention", "history_matches", "taste_matches"])
def test_each_option_adds_to_what_the_network_reads(model, option):
    def width(ranker):
        logits(ranker)
        side = ranker.item_side(ITEMS).take(CANDIDATES)
        found = ranker.against_past(ranker.query_side(REQUESTS), side, False)
        return sum(int(part.shape[-1]) for part in found)

    # Two histories: attention gives 4 + 2 + 1 numbers each, matches 2 each; one taste gives 1.
    assert width(make(model=model)) == 19
    added = {"target_attention": 14, "history_matches": 4, "taste_matches": 1}[option]
    assert width(make(model=model, **{option: False})) == 19 - added


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
@pytest.mark.parametrize("rank", [None, 2])
def test_cross_layers_may_be_full_or_of_low_rank_stacked_or_parallel(structure, rank):
    ranker = make(structure=structure, cross_rank=rank, cross_layers=1)
    logits(ranker)
    kernels = [variable.shape.as_list() for variable in ranker.cross[0].trainable_variables if len(variable.shape) == 2]
    width = kernels[0][0]
    assert kernels == ([[width, width]] if rank is None else [[width, 2], [2, width]])
    # In parallel the finding head reads both parts, stacked the deep one alone.
    linear = 8 + 1 + 1
    assert ranker.finding.kernel.shape[0] == linear + (8 if structure == "stacked" else 8 + width)


@pytest.mark.parametrize("model", NEURAL)
def test_liking_sends_no_gradient_into_the_items(model):
    ranker = make(model=model)
    table = ranker.embedding.tables["item_id"].embeddings if logits(ranker) else None
    with tf.GradientTape(persistent=True) as tape:
        found = logits(ranker)
    assert tape.gradient(found.finding, table) is not None
    assert tape.gradient(found.liking, table) is None


def test_trees_read_no_ids_and_no_padding():
    ranker = make(model="boosted_trees")
    rows = ranker.rows(ranker.query_side(REQUESTS), ranker.item_side(ITEMS).take(CANDIDATES)).numpy()
    # age, city, 2 shares | 4 tags (nothing, unknown, odd, even), year | events | 2 matches a history | 1 taste
    assert rows.shape == (2, 4, 4 + 5 + 1 + 4 + 1)
    assert ranker.categorical_columns == [1]
    first = rows[0, 0]
    assert first[:10] == pytest.approx([3, 2, 0.7, 0.3, 0, 0, 1, 0, 0.1, 5], abs=1e-5)
    # Item 2 is the second newest like and the third newest event; all its tags are odd.
    assert first[10:] == pytest.approx([np.log(2), 1 / 2, np.log(2), 1 / 3, 0.7], abs=1e-5)
    assert not rows[1, :, 10:].any()


def test_trees_leave_out_vocabularies_that_are_too_large():
    trees = CONFIG.boosted_trees.model_copy(update={"largest_vocabulary": 3})
    preprocessing = Preprocessing((*SPEC.user, *SPEC.item), VOCABULARIES, {})
    ranker = make_ranker(SPEC, preprocessing, RankingConfig(model="boosted_trees", boosted_trees=trees))
    assert ranker.categorical_columns == []
    assert ranker.item_vector(ITEMS).shape == (6, 1)


def test_trees_are_refused_when_items_have_no_column():
    spec = FeatureSpec.model_validate(
        {
            "user": [{"name": "age", "kind": "numeric", "source": {"column": "age"}}],
            "item": [{"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}}],
        }
    )
    preprocessing = Preprocessing((*spec.user, *spec.item), {"item_id": ["a"]}, {})
    with pytest.raises(ConfigError, match="boosted trees need numbers or small categories of items"):
        make_ranker(spec, preprocessing, RankingConfig(model="boosted_trees"))


def test_trees_read_the_same_when_the_last_bit_of_a_number_differs():
    ranker = make(model="boosted_trees")
    nudged = {**REQUESTS, "age": tf.constant(np.nextafter(np.float32([3.0, -1.0]), np.float32(9)))}
    side = ranker.item_side(ITEMS).take(CANDIDATES)
    rows = [ranker.rows(ranker.query_side(requests), side).numpy() for requests in (REQUESTS, nudged)]
    assert (rows[0] == rows[1]).all()

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.evaluate.baselines import popularity_ranks
from components.evaluate.config import BaselineRule, EqualOpportunityRule, EvaluateConfig, ExposureRule, RegressionRule
from components.evaluate.evaluate import EvaluatePaths, evaluate
from components.evaluate.funnel import FunnelModels, run_funnel
from components.evaluate.moments import find_moments, read_events
from components.train_ranker.train_ranker import RankerPaths, train_ranker
from components.train_retrieval.train_retrieval import RetrievalPaths, train_retrieval
from feature_repo.as_of import join_as_of
from feature_repo.columns import to_arrays
from feature_repo.errors import ConfigError
from feature_repo.tables import TIMESTAMP
from tests.trainer.tiny_tables import DAY, SPEC, write_tables
from trainer.config import RankingConfig, RetrievalConfig
from trainer.off_policy_config import OffPolicyConfig

REPEATEDLY = SPEC.model_copy(update={"consumption": "repeatedly"})
CONFIG = EvaluateConfig(
    bootstrap_samples=20,
    item_refresh_seconds=86_400,
    segments=("city",),
    diversity_by="tags",
    exposures=(ExposureRule(groups="tags", smallest_group=1), ExposureRule(groups="item_popularity")),
    equal_opportunities=(EqualOpportunityRule(groups="city", metric="recall_at_1"),),
    baselines=(BaselineRule(baseline="popularity"),),
    regressions=(RegressionRule(),),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("funnel")
    examples, item_features = write_tables(folder)
    towers = folder / "user_tower", folder / "item_tower"
    train_retrieval(
        SPEC,
        RetrievalConfig(embedding_dimension=4, hidden_units=(8,), epochs=1, batch_size=8),
        RetrievalPaths(examples, item_features, *towers),
    )
    train_ranker(
        SPEC,
        RankingConfig(embedding_dimension=4, hidden_units=(8,), epochs=1, batch_size=16),
        RankerPaths(examples, item_features, *towers, folder / "ranker"),
    )
    return folder


def window(folder):
    item_features = pq.read_table(folder / "item_features.parquet")
    catalogue = pc.unique(item_features.column("item_id"))
    catalogue = catalogue.take(pc.sort_indices(catalogue))
    events = read_events(pq.read_table(folder / "events.parquet"), catalogue)
    moments = find_moments(pq.read_table(folder / "examples" / "test.parquet"), events, catalogue)
    return item_features, catalogue, events, moments


def test_the_funnel_ranks_as_the_gateway_would_one_request_after_the_other(folder):
    item_features, catalogue, _, moments = window(folder)
    targets = moments.queries()
    models = FunnelModels(SPEC, *(folder / name for name in ("user_tower", "item_tower", "ranker")))
    outcome = run_funnel(models, moments, targets, item_features, catalogue, 3, 86_400)

    assert len(targets[0]) > 3
    for query, (moment, target) in enumerate(zip(*targets, strict=True)):
        at = int(moments.timestamps[moment]) // DAY * DAY
        rows = pa.table({"item_id": catalogue, "timestamp": pa.array([at] * 8, pa.int64()).cast(TIMESTAMP)})
        columns = [feature.name for feature in SPEC.item if feature.name != "item_id"]
        table = join_as_of(rows, item_features, "item_id", columns).append_column("item_id", catalogue)
        request = moments.rows.slice(int(moment), 1)
        seconds = int(moments.timestamps[moment]) // 1_000_000
        user = models.towers.embed_queries(
            to_arrays(SPEC.request_inputs("retrieval"), request), np.array([seconds], np.int64)
        )[0]
        retrieval = models.towers.embed_items(to_arrays(SPEC.inputs("item", "retrieval"), table)) @ user
        corpus = [item for item in np.argsort(-retrieval) if item not in set(moments.seen[moment])]
        handed_on = np.array(corpus[:3])
        scores = models.ranker.score(
            to_arrays(SPEC.request_inputs("ranking"), request),
            seconds,
            to_arrays(SPEC.inputs("item", "ranking"), table.take(pa.array(handed_on))),
            retrieval[handed_on].astype(np.float32),
        )["score"]
        answer = handed_on[np.argsort(-scores)].tolist()
        assert outcome.retrieval_ranks[query] == corpus.index(target) + 1
        assert outcome.ranks[query] == (answer.index(target) + 1 if target in answer else np.inf)
        assert outcome.top_items[query].tolist() == answer + [-1] * (10 - len(answer))


def test_pools_hold_the_best_of_every_moment(folder):
    item_features, catalogue, _, moments = window(folder)
    targets = moments.queries()
    models = FunnelModels(SPEC, *(folder / name for name in ("user_tower", "item_tower", "ranker")))
    outcome = run_funnel(models, moments, targets, item_features, catalogue, 3, 86_400, pool=2)
    assert outcome.pools.items.shape == (len(moments.users), 2)
    for query, moment in enumerate(targets[0]):
        assert outcome.pools.items[moment].tolist() == outcome.top_items[query][:2].tolist()
    # Moments that ask for nothing have a pool too.
    assert (outcome.pools.items[:, 0] >= 0).all()
    full = outcome.pools.items[:, 1] >= 0
    assert (outcome.pools.scores[full, 0] >= outcome.pools.scores[full, 1]).all()
    assert ((outcome.pools.probabilities[full] > 0) & (outcome.pools.probabilities[full] < 1)).all()
    # A moment of one impression: the item in its pool, if it was the one shown, has the impression's probability.
    first = np.cumsum([0, *(len(shown) for shown in moments.impressions)])
    same = [m for m, shown in enumerate(moments.impressions) if shown[0] == outcome.pools.items[m, 0]]
    assert same
    for moment in same:
        assert outcome.pools.probabilities[moment, 0] == pytest.approx(outcome.probabilities[first[moment]], abs=1e-6)
    without = run_funnel(models, moments, targets, item_features, catalogue, 3, 86_400)
    assert without.pools is None


def test_impressions_get_the_probability_and_not_the_score(folder):
    item_features, catalogue, _, moments = window(folder)
    models = FunnelModels(SPEC, *(folder / name for name in ("user_tower", "item_tower", "ranker")))
    outcome = run_funnel(models, moments, moments.queries(), item_features, catalogue, 8, 86_400)
    assert len(outcome.probabilities) == len(outcome.labels) == 10
    shown = int(moments.impressions[0][0])
    at = int(moments.timestamps[0]) // DAY * DAY
    row = pa.table({"item_id": catalogue.slice(shown, 1), "timestamp": pa.array([at], pa.int64()).cast(TIMESTAMP)})
    columns = [feature.name for feature in SPEC.item if feature.name != "item_id"]
    table = join_as_of(row, item_features, "item_id", columns).append_column("item_id", row.column("item_id"))
    found = models.ranker.score(
        to_arrays(SPEC.request_inputs("ranking"), moments.rows.slice(0, 1)),
        int(moments.timestamps[0]) // 1_000_000,
        to_arrays(SPEC.inputs("item", "ranking"), table),
        np.zeros(1, np.float32),
    )
    # The probability does not depend on the retrieval score, which is therefore left at 0 here.
    assert outcome.probabilities[0] == pytest.approx(found["probability"][0], abs=1e-6)


def test_popularity_counts_positives_strictly_before_the_query(folder):
    _, catalogue, events, moments = window(folder)
    targets = moments.queries()
    ranks = popularity_ranks(moments, targets, events, len(catalogue), None)
    for query, (moment, target) in enumerate(zip(*targets, strict=True)):
        before = (events.timestamps < moments.timestamps[moment]) & events.positive
        counts = np.bincount(events.items[before], minlength=8)
        corpus = [item for item in range(8) if item not in set(moments.seen[moment])]
        order = sorted(corpus, key=lambda item: (-counts[item], item))
        assert ranks[query] == order.index(target) + 1


def test_evaluate_writes_a_verdict_and_a_report_that_needs_no_network(folder, tmp_path):
    found = evaluate(
        CONFIG,
        SPEC,
        3,
        EvaluatePaths(
            examples=folder / "examples",
            events=folder / "events.parquet",
            item_features=folder / "item_features.parquet",
            user_tower=folder / "user_tower",
            item_tower=folder / "item_tower",
            ranker=folder / "ranker",
            release_store=tmp_path / "releases",
            report=tmp_path / "out" / "report",
            verdict=tmp_path / "out" / "verdict",
        ),
    )
    written = json.loads((tmp_path / "out" / "verdict").read_text(encoding="utf-8"))
    assert written["blessed"] == found["blessed"] == all(rule["passed"] for rule in written["rules"])
    assert written["champion"] == {"state": "none", "release": None, "note": "no release is live"}
    assert [rule["outcome"] for rule in written["rules"][1:2]] == ["not judged"]
    for model in ("funnel", "retrieval", "popularity", "recent_popularity"):
        assert 0 <= written["metrics"][f"{model}.ndcg_at_10"] <= 1
    # Eight items and three candidates: no more than three can be found, by whatever ranker.
    assert written["metrics"]["funnel.recall_at_1000"] == pytest.approx(
        np.mean([place <= 3 for place in _retrieval_ranks(folder)])
    )
    slices = {row["slice"]: row for row in written["slices"]}
    assert slices["city = Bern"]["queries"] + slices["city = Ulm"]["queries"] == written["queries"]
    assert slices["users with more than 20 past positives"]["queries"] == 0
    assert slices["users with more than 20 past positives"]["metrics"] == {}
    assert {row["group"] for row in written["exposures"]["tags"]} == {"even", "odd"}
    assert len(written["exposures"]["item_popularity"]) == 3
    assert {row["group"] for row in written["equal_opportunities"][0]["groups"]} == {"Bern", "Ulm"}
    assert 0 <= written["metrics"]["funnel.diversity_at_10"] <= 1
    # NaN is no JSON.
    assert all(value == value for value in written["metrics"].values())
    page = (tmp_path / "out" / "report").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


@pytest.mark.parametrize("logged", [False, True])
def test_impressions_with_propensities_are_evaluated_off_policy(folder, tmp_path, logged):
    shutil.copytree(folder / "examples", tmp_path / "examples")
    path = tmp_path / "examples" / "test.parquet"
    examples = pq.read_table(path)
    examples = examples.append_column("position", pa.array([1] * examples.num_rows, pa.int32()))
    # Everybody is shown any of the eight items that they have not had, as likely as any other.
    left = 8 - examples.column("likes").to_numpy()
    propensities = pa.array(1 / left) if logged else pa.nulls(len(left), pa.float64())
    examples = examples.append_column("propensity", propensities)
    pq.write_table(examples, path)
    few = OffPolicyConfig(smallest_requests=2, smallest_users=2, smallest_effective_size=1, largest_unsupported=0.9)
    found = evaluate(
        CONFIG.model_copy(update={"off_policy": few}),
        SPEC,
        8,
        EvaluatePaths(
            examples=tmp_path / "examples",
            events=folder / "events.parquet",
            item_features=folder / "item_features.parquet",
            user_tower=folder / "user_tower",
            item_tower=folder / "item_tower",
            ranker=folder / "ranker",
            release_store=tmp_path / "releases",
            report=tmp_path / "report",
            verdict=tmp_path / "verdict",
        ),
    )
    written = json.loads((tmp_path / "verdict").read_text(encoding="utf-8"))["off_policy"]
    assert written == found["off_policy"]
    page = (tmp_path / "report").read_text(encoding="utf-8")
    if not logged:
        assert "have no propensities" in written["refused"]
        assert "Not estimated: the impressions of the test window have no propensities" in page
    else:
        assert written["refused"] is None
        assert written["slots"] == (left > 1).sum() > 0
        assert written["left_out"]["shown without a choice"] == (left == 1).sum() > 0
        # What the candidate itself promises of its own choices.
        assert 0 < written["estimates"]["direct"]["value"][0] < 1
        assert f"{written['estimates']['dr']['value'][0]:.4f}" in page


def test_what_a_user_had_is_ranked_where_items_are_consumed_repeatedly(folder):
    item_features, catalogue, _, moments = window(folder)
    repeated = replace(moments, repeat=True)
    models = FunnelModels(SPEC, *(folder / name for name in ("user_tower", "item_tower", "ranker")))
    targets = repeated.queries()
    outcome = run_funnel(models, repeated, targets, item_features, catalogue, 8, 86_400)
    # The whole catalogue is in every answer.
    assert (np.sort(outcome.top_items[:, :8], axis=1) == np.arange(8)).all()
    assert (outcome.ranks <= 8).all()


def test_what_a_user_had_lately_joins_the_candidates_where_items_are_consumed_repeatedly(folder):
    item_features, catalogue, _, moments = window(folder)
    models = FunnelModels(REPEATEDLY, *(folder / name for name in ("user_tower", "item_tower", "ranker")))
    repeated = replace(moments, repeat=True)
    targets = repeated.queries()
    given = item_features, catalogue, 1, 86_400
    alone = run_funnel(models, repeated, targets, *given)
    assert ((alone.top_items >= 0).sum(axis=1) == 1).all()
    joined = run_funnel(models, repeated, targets, *given, history_candidates=2)
    ids = np.array(catalogue.to_pylist(), object)
    for query, moment in enumerate(targets[0]):
        own = set(moments.rows.column("last_items")[int(moment)].as_py()[:2])
        answered = {str(ids[item]) for item in joined.top_items[query] if item >= 0}
        assert answered == own | {str(ids[alone.top_items[query, 0]])}
    # Consumed once, nobody's own items are candidates.
    once = run_funnel(models, moments, moments.queries(), *given, history_candidates=2)
    assert ((once.top_items >= 0).sum(axis=1) == 1).all()


def test_feature_that_cannot_be_grouped_by_is_refused_before_any_model_is_loaded(folder, tmp_path):
    nowhere = tmp_path / "nowhere"
    paths = EvaluatePaths(
        examples=folder / "examples",
        events=folder / "events.parquet",
        item_features=folder / "item_features.parquet",
        user_tower=nowhere,
        item_tower=nowhere,
        ranker=nowhere,
        release_store=nowhere,
        report=nowhere,
        verdict=nowhere,
    )
    with pytest.raises(ConfigError, match="'colour'"):
        evaluate(EvaluateConfig(exposures=(ExposureRule(groups="colour"),)), SPEC, 3, paths)
    with pytest.raises(ConfigError, match="'age'"):
        evaluate(EvaluateConfig(equal_opportunities=(EqualOpportunityRule(groups="age"),)), SPEC, 3, paths)


def _retrieval_ranks(folder):
    item_features, catalogue, _, moments = window(folder)
    models = FunnelModels(SPEC, *(folder / name for name in ("user_tower", "item_tower", "ranker")))
    return run_funnel(models, moments, moments.queries(), item_features, catalogue, 8, 86_400).retrieval_ranks

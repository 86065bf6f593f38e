"""Training and serving agree: what the gateway used is what the training path computes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.columns import context_columns, to_arrays
from feature_repo.item_vectors import ITEM_VECTORS, read_item_vectors
from feature_repo.store import point_in_time_join
from feature_repo.tables import TIMESTAMP, data_window
from tests.e2e.conftest import REQUESTS

SHOWN = 10


@pytest.fixture(scope="module")
def offline(trained, predictions) -> list[pa.Table]:
    """For each request one row a shown item: features as training rows get them, and the context."""
    from feast import FeatureStore

    spec = trained.config.features
    events = pq.read_table(trained.record.artifact("ingest", "events"), columns=["timestamp"])
    # The online store and the item table hold what was known at the end of the data.
    _, end = data_window(events)
    users = [prediction["user_id"] for prediction in predictions for _ in prediction["items"]]
    items = [item["item_id"] for prediction in predictions for item in prediction["items"]]
    rows = pa.table({"user_id": users, "item_id": items, "timestamp": pa.array([end] * len(users), TIMESTAMP)})
    joined = point_in_time_join(FeatureStore(repo_path=str(trained.home.feature_store)), spec, rows)
    seconds = np.array([int(prediction["timestamp"]) for prediction in predictions for _ in prediction["items"]])
    for name, column in context_columns(spec.context, seconds).items():
        joined = joined.append_column(name, column)
    # The embeddings that items come with lie beside the training rows.
    vectors = trained.record.artifact("build-features", "examples") / ITEM_VECTORS
    held = read_item_vectors(vectors, joined.column("item_id").combine_chunks(), spec.vectors())
    for name in held.column_names:
        joined = joined.append_column(name, held.column(name))
    return [joined.slice(place * SHOWN, SHOWN) for place in range(len(predictions))]


def test_every_request_was_logged_with_its_release(predictions):
    assert len(predictions) == REQUESTS
    assert len({prediction["request_id"] for prediction in predictions}) == REQUESTS
    assert {prediction["release"] for prediction in predictions} == {1}
    assert {len(prediction["items"]) for prediction in predictions} == {SHOWN}


def test_logged_features_are_bit_equal_to_the_training_path(trained, predictions, offline):
    spec = trained.config.features
    inputs = {f.name: f for stage in ("retrieval", "ranking") for f in spec.request_inputs(stage)}
    assert inputs
    for prediction, rows in zip(predictions, offline, strict=True):
        assert set(prediction["features"]) == set(inputs)
        row = rows.slice(0, 1)
        logged = pa.table({name: pa.array([prediction["features"][name]], row.column(name).type) for name in inputs})
        for name, value in to_arrays(inputs.values(), row).items():
            assert np.array_equal(value, to_arrays([inputs[name]], logged)[name]), (name, prediction["user_id"])


def test_scores_equal_those_of_the_training_path(trained, predictions, offline):
    from trainer.scoring import ExportedRanker, Towers

    spec, record = trained.config.features, trained.record
    towers = Towers(record.artifact("train-retrieval", "user_tower"), record.artifact("train-retrieval", "item_tower"))
    ranker = ExportedRanker(record.artifact("train-ranker", "ranker"))
    for prediction, rows in zip(predictions, offline, strict=True):
        seconds, request = int(prediction["timestamp"]), rows.slice(0, 1)
        query = towers.embed_queries(to_arrays(spec.request_inputs("retrieval"), request), np.array([seconds]))
        retrieval = towers.embed_items(to_arrays(spec.inputs("item", "retrieval"), rows)) @ query[0]
        scores = ranker.score(
            to_arrays(spec.request_inputs("ranking"), request),
            seconds,
            to_arrays(spec.inputs("item", "ranking"), rows),
            retrieval.astype(np.float32),
        )
        logged = prediction["items"]
        np.testing.assert_allclose([item["retrieval_score"] for item in logged], retrieval, atol=1e-5, rtol=1e-5)
        for name in ("score", "probability"):
            np.testing.assert_allclose([item[name] for item in logged], scores[name], atol=1e-5, rtol=0)

"""Training and serving agree: what the gateway used is what the training path computes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.as_of import join_as_of
from feature_repo.columns import context_columns, to_arrays
from feature_repo.spec import history
from feature_repo.tables import TIMESTAMP
from tests.e2e.conftest import REQUESTS


@pytest.fixture(scope="module")
def offline(trained, predictions) -> pa.Table:
    """One row a request: the features of the user and the context, by the path that training rows take."""
    record, spec = trained.record, trained.config.features
    events = pq.read_table(record.artifact("ingest", "events"), columns=["timestamp"])
    # The online store holds what was known just after the last event.
    materialised = pc.cast(pc.max(events.column("timestamp")), pa.int64()).as_py() + 1
    users = pa.array([prediction["user_id"] for prediction in predictions])
    at = pa.array([materialised] * len(predictions), pa.int64()).cast(TIMESTAMP)
    stored = [feature.name for feature in history(spec.stored("user"))]
    table = join_as_of(
        pa.table({"user_id": users, "timestamp": at}),
        str(record.artifact("build-features", "user_features")),
        "user_id",
        stored,
    )
    seconds = np.array([int(prediction["timestamp"]) for prediction in predictions])
    for name, column in context_columns(spec.context, seconds).items():
        table = table.append_column(name, column)
    return table.append_column("user_id", users)


def test_every_request_was_logged_with_its_release(predictions):
    assert len(predictions) == REQUESTS
    assert len({prediction["request_id"] for prediction in predictions}) == REQUESTS
    assert {prediction["release"] for prediction in predictions} == {1}


def test_logged_features_are_bit_equal_to_the_training_path(trained, predictions, offline):
    spec = trained.config.features
    inputs = {f.name: f for stage in ("retrieval", "ranking") for f in spec.request_inputs(stage)}
    assert inputs
    for place, prediction in enumerate(predictions):
        assert set(prediction["features"]) == set(inputs)
        row = offline.slice(place, 1)
        logged = pa.table({name: pa.array([prediction["features"][name]], row.column(name).type) for name in inputs})
        for name, value in to_arrays(inputs.values(), row).items():
            assert np.array_equal(value, to_arrays([inputs[name]], logged)[name]), (name, prediction["user_id"])


def test_scores_equal_those_of_the_training_path(trained, predictions, offline):
    from trainer.scoring import ExportedRanker, Towers

    spec, record = trained.config.features, trained.record
    towers = Towers(record.artifact("train-retrieval", "user_tower"), record.artifact("train-retrieval", "item_tower"))
    ranker = ExportedRanker(record.artifact("train-ranker", "ranker"))
    events = pq.read_table(record.artifact("ingest", "events"), columns=["timestamp"])
    at = pc.cast(pc.max(events.column("timestamp")), pa.int64()).as_py() + 1
    compared = 0
    for place, prediction in enumerate(predictions):
        row, seconds = offline.slice(place, 1), int(prediction["timestamp"])
        shown = pa.array([item["item_id"] for item in prediction["items"]])
        rows = pa.table({"item_id": shown, "timestamp": pa.array([at] * len(shown), pa.int64()).cast(TIMESTAMP)})
        items = join_as_of(
            rows,
            str(record.artifact("build-features", "item_features")),
            "item_id",
            [feature.name for feature in history(spec.stored("item"))],
        ).append_column("item_id", shown)
        query = towers.embed_queries(to_arrays(spec.request_inputs("retrieval"), row), np.array([seconds]))
        retrieval = towers.embed_items(to_arrays(spec.inputs("item", "retrieval"), items)) @ query[0]
        scores = ranker.score(
            to_arrays(spec.request_inputs("ranking"), row),
            seconds,
            to_arrays(spec.inputs("item", "ranking"), items),
            retrieval.astype(np.float32),
        )
        logged = prediction["items"]
        np.testing.assert_allclose([item["retrieval_score"] for item in logged], retrieval, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose([item["score"] for item in logged], scores["score"], atol=1e-5)
        compared += len(logged)
    assert compared == REQUESTS * 10

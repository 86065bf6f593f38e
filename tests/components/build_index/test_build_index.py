import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.build_index.build_index import IndexPaths, build_index
from feature_repo.errors import ConfigError, DataError
from feature_repo.item_vectors import ITEM_VECTORS
from feature_repo.tables import TIMESTAMP
from serving.config import GatewayConfig, IndexConfig, RerankConfig, ServingConfig
from serving.index import load_index
from serving.item_table import data_window, load_item_table
from tests.contract.tiny_release import SPEC, save_models

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY1, DAY2, DAY3 = (datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3))
TICK = timedelta(microseconds=1)
CONFIG = ServingConfig(gateway=GatewayConfig(titles="title"), index=IndexConfig(kind="brute_force"))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_models(folder)
    return folder


@pytest.fixture
def paths(models, tmp_path):
    # Item 1 is liked on both days, item 3 on the first; item 2 never. On day 3, after the end of the data, the likes
    # of item 1 leave their window: the history knows it already.
    history = {
        "item_id": ["1", "1", "1", "1", "2", "3", "3"],
        "event_timestamp": pa.array([EPOCH, DAY1, DAY2, DAY3, EPOCH, EPOCH, DAY1], TIMESTAMP),
        "genre": ["a", "a", "a", "a", "b", None, None],
        "likes": pa.array([0, 1, 2, 0, 0, 0, 1], pa.float32()),
    }
    pq.write_table(pa.table(history), tmp_path / "item_features")
    write_items(tmp_path / "items", ["2", "3", "1"])
    pq.write_table(pa.table({"timestamp": pa.array([DAY1, DAY2 - TICK], TIMESTAMP)}), tmp_path / "events")
    return IndexPaths(
        item_tower=models / "item_tower",
        items=tmp_path / "items",
        events=tmp_path / "events",
        item_features=tmp_path / "item_features",
        item_vectors=tmp_path / "examples" / ITEM_VECTORS,
        index=tmp_path / "out" / "index",
        item_table=tmp_path / "out" / "item_table",
    )


def write_items(path, ids):
    titles = pa.array([f"Film {item}" for item in ids], pa.string())
    pq.write_table(pa.table({"item_id": pa.array(ids, pa.string()), "title": titles}), path)


def test_every_item_is_indexed_with_its_features_at_the_end_of_the_data(paths):
    assert build_index(SPEC, CONFIG, paths) == {"items": 3, "dimension": 2, "leaves": 0}
    # Embeddings are [likes, number]: items 2, 3, 1 are [0, 2], [1, 3], [2, 1].
    rows, scores = load_index(paths.index).search(np.array([[10, 1]], np.float32), 3)
    assert rows.tolist() == [[2, 1, 0]]
    assert scores.tolist() == [[21.0, 13.0, 2.0]]

    items = load_item_table(paths.item_table, SPEC, "genre")
    assert items.ids == ["2", "3", "1"]
    assert items.titles == ["Film 2", "Film 3", "Film 1"]
    assert items.ranking_inputs["likes"].tolist() == [0.0, 1.0, 2.0]
    assert items.ranking_inputs["genre"].tolist() == [b"b", b"", b"a"]
    assert items.values == [("b",), (), ("a",)]
    assert data_window(paths.item_table) == {
        "data_begin": "2024-01-01T00:00:00+00:00",
        "data_end": "2024-01-02T00:00:00+00:00",
    }


def test_popularity_is_the_count_of_positive_events(paths):
    build_index(SPEC, CONFIG, paths)
    items = load_item_table(paths.item_table, SPEC, None)
    assert items.popular.tolist() == [2, 1, 0]
    assert items.popularity.tolist() == [0.0, 0.5, 1.0]


def test_popularity_is_the_order_of_the_catalogue_when_nothing_counts_positives(paths):
    windowed = SPEC.model_dump()
    windowed["item"][2]["source"]["window_days"] = 7.0
    spec = type(SPEC).model_validate(windowed)
    build_index(spec, CONFIG, paths)
    assert load_item_table(paths.item_table, spec, None).popular.tolist() == [0, 1, 2]


def test_an_item_without_features_is_refused(paths):
    write_items(paths.items, ["1", "new"])
    with pytest.raises(DataError, match="1 items have no features, such as 'new'"):
        build_index(SPEC, CONFIG, paths)


def test_an_empty_catalogue_is_refused(paths):
    write_items(paths.items, [])
    with pytest.raises(DataError, match="items table is empty"):
        build_index(SPEC, CONFIG, paths)


def test_names_that_the_config_gets_wrong_are_refused(paths):
    with pytest.raises(ConfigError, match=r"titles` must be a column .*item_id, title.* Received: 'name'"):
        build_index(SPEC, ServingConfig(gateway=GatewayConfig(titles="name")), paths)
    with pytest.raises(ConfigError, match=r"max_share_by` must be .*\(genre\). Received: 'likes'"):
        build_index(SPEC, ServingConfig(rerank=RerankConfig(max_share_by="likes")), paths)


def test_the_component_calls_the_step(paths):
    from components.build_index.component import build_index as component

    logged = {}
    artifacts = {
        name: SimpleNamespace(path=str(getattr(paths, name))) for name in vars(paths) if name != "item_vectors"
    }
    artifacts["examples"] = SimpleNamespace(path=str(paths.item_vectors.parent))
    config = json.dumps({"features": SPEC.model_dump(mode="json"), "serving": CONFIG.model_dump(mode="json")})
    metrics = SimpleNamespace(log_metric=logged.__setitem__)
    component.python_func(config=config, metrics=metrics, **artifacts)
    assert logged == {"items": 3, "dimension": 2, "leaves": 0}
    assert load_index(paths.index).size == 3

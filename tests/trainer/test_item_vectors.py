"""Items that come with embeddings, from the file beside the examples to the exported towers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.spec import FeatureSpec
from tests.trainer.test_training import RANKING, RETRIEVAL
from tests.trainer.tiny_tables import ITEMS, write_tables
from tests.trainer.tiny_tables import SPEC as PLAIN
from trainer.catalogue import Catalogue
from trainer.examples import open_examples
from trainer.export import export_ranker, export_towers
from trainer.ranking import train_ranking
from trainer.retrieval import train_two_tower
from trainer.scoring import ExportedRanker, Towers
from trainer.warm_start import read_parent

LENGTH = 80


def spec_with_content() -> FeatureSpec:
    """The tiny spec, where nothing but the id and a vector tells items apart."""
    raw = PLAIN.model_dump(mode="json")
    kept = [feature for feature in raw["item"] if feature["name"] in ("item_id", "events")]
    content = {"name": "content", "kind": "embedding", "length": LENGTH, "source": {"column": "content"}}
    return FeatureSpec.model_validate({**raw, "item": [*kept, content]})


SPEC = spec_with_content()


def vectors_of(parities):
    """One direction a parity, and a little of each item's own."""
    random = np.random.default_rng(5)
    directions = random.normal(size=(2, LENGTH))
    vectors = directions[np.array(parities)] + 0.3 * random.normal(size=(len(parities), LENGTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    examples, item_features = write_tables(folder)
    # The last two are of items that nobody met.
    vectors = vectors_of([*(item % 2 for item in range(8)), 0, 1])
    known = pa.array(vectors[:8].tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": pa.array(ITEMS), "content": known}), folder / "item_vectors.parquet")
    catalogue = Catalogue(SPEC.inputs("item", "ranking"), item_features, folder / "item_vectors.parquet")
    train, validation = open_examples(examples, "train"), open_examples(examples, "validation")
    config = RETRIEVAL.model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.03, "item_id_dropout": 0.5})
    model = train_two_tower(SPEC, config, train, train, catalogue)
    export_towers(model, SPEC, folder / "user_tower", folder / "item_tower")
    return folder, train, validation, catalogue, config, vectors


def test_vectors_are_read_in_the_order_of_codes(trained):
    _, train, _, catalogue, _, vectors = trained
    assert catalogue.attribute_arrays["content"] == pytest.approx(vectors[:8])
    rows = train.with_features([f for f in SPEC.item if f.name == "events"]).part(0)
    arrays = catalogue.features_of(rows, SPEC.inputs("item", "retrieval"))
    assert arrays["content"] == pytest.approx(vectors[[ITEMS.index(item) for item in rows.item_ids]])
    assert arrays["item_id"].tolist() == rows.item_ids.tolist()
    assert arrays["events"].tolist() == rows.table.column("events").to_pylist()


def test_an_unseen_item_lies_by_its_content_near_those_like_it(trained):
    folder, _, _, catalogue, _, vectors = trained
    towers = Towers(folder / "user_tower", folder / "item_tower")
    at = {"events": np.full(10, 3.0, np.float32), "content": vectors}
    ids = np.array([*ITEMS, "fresh even", "fresh odd"], object)
    embedded = towers.embed_items({**at, "item_id": ids})
    even, odd = embedded[:8:2].mean(axis=0), embedded[1:8:2].mean(axis=0)
    assert np.linalg.norm(embedded[8] - even) < np.linalg.norm(embedded[8] - odd)
    assert np.linalg.norm(embedded[9] - odd) < np.linalg.norm(embedded[9] - even)
    # With each other's content they lie where the other did: nothing else places them.
    swapped = towers.embed_items({**at, "item_id": ids, "content": vectors[[*range(8), 9, 8]]})
    assert swapped[8] == pytest.approx(embedded[9], abs=1e-6)


def test_a_warm_start_keeps_the_projection(trained):
    folder, train, _, catalogue, config, _ = trained
    parent = read_parent(folder / "user_tower", "release 1")
    again = train_two_tower(SPEC, config.model_copy(update={"epochs": 0}), train, train, catalogue, parent)
    export_towers(again, SPEC, folder / "again_user", folder / "again_item")
    items = catalogue.snapshots(np.array([0]))[0]
    before = Towers(folder / "user_tower", folder / "item_tower").embed_items(items)
    after = Towers(folder / "again_user", folder / "again_item").embed_items(items)
    assert after == pytest.approx(before, abs=1e-6)


def test_the_ranker_takes_vectors_too(trained):
    folder, train, validation, catalogue, _, _ = trained
    towers = Towers(folder / "user_tower", folder / "item_tower")
    config = RANKING.model_copy(update={"epochs": 1})
    export_ranker(train_ranking(SPEC, config, train, validation, catalogue, towers), SPEC, folder / "ranker")
    assert "content" in ExportedRanker(folder / "ranker").inputs

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import ConfigError, ReleaseError
from tests.trainer.test_training import RETRIEVAL
from tests.trainer.tiny_tables import SPEC, write_tables
from trainer.catalogue import Catalogue
from trainer.examples import open_examples
from trainer.export import export_towers
from trainer.retrieval import train_two_tower
from trainer.scoring import Towers
from trainer.warm_start import STATE, named_variables, read_parent

NEW = "i8"


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A release's towers, trained on all items but one, and that item in later tables."""
    folder = tmp_path_factory.mktemp("parent")
    examples, item_features = write_tables(folder)
    train, validation = open_examples(examples, "train"), open_examples(examples, "validation")
    catalogue = Catalogue(SPEC.inputs("item", "retrieval"), item_features)
    model = train_two_tower(SPEC, RETRIEVAL, train, validation, catalogue)
    export_towers(model, SPEC, folder / "user_tower", folder / "item_tower")

    table = pq.read_table(item_features)
    fresh = table.filter(pa.compute.equal(table["item_id"], "i2"))
    fresh = fresh.set_column(0, "item_id", pa.array([NEW] * len(fresh)))
    pq.write_table(pa.concat_tables([table, fresh]), folder / "more_items.parquet")
    rows = train.with_features(SPEC.all).part(0).table
    place = rows.column_names.index("item_id")
    later = rows.slice(len(rows) - 1).set_column(place, "item_id", pa.array([NEW]))
    pq.write_table(pa.concat_tables([rows, later]), folder / "examples" / "more.parquet")
    return folder, model, train, validation


def grown(folder):
    """Training rows and catalogue with the new item."""
    return (
        open_examples(folder / "examples", "more"),
        Catalogue(SPEC.inputs("item", "retrieval"), folder / "more_items.parquet"),
    )


def start(parent, config=RETRIEVAL, epochs=0):
    folder, _, _, validation = parent
    train, catalogue = grown(folder)
    given = read_parent(folder / "user_tower", "release 3")
    config = config.model_copy(update={"epochs": epochs})
    return train_two_tower(SPEC, config, train, validation, catalogue, given)


def test_names_are_those_of_the_attributes_and_cover_every_variable(parent):
    network = parent[1].network
    names = named_variables(network)
    assert len(names) == len(network.variables)
    assert not [name for name in names if name.startswith("other")]
    assert names["query_tower:hidden:0:kernel"] is network.query_tower.hidden[0].kernel


def test_what_has_not_been_trained_on_scores_as_its_parent(parent, tmp_path, capsys):
    folder, model, train, _ = parent
    child = start(parent)
    export_towers(child, SPEC, tmp_path / "user_tower", tmp_path / "item_tower")
    ours = Towers(tmp_path / "user_tower", tmp_path / "item_tower")
    theirs = Towers(folder / "user_tower", folder / "item_tower")
    rows = train.with_features(SPEC.all).part(0)
    arrays = rows.arrays(SPEC.request_inputs("retrieval"))
    expected = theirs.embed_queries(arrays, rows.seconds)
    assert ours.embed_queries(arrays, rows.seconds) == pytest.approx(expected, abs=1e-6)
    items = rows.arrays(SPEC.inputs("item", "retrieval"))
    assert ours.embed_items(items) == pytest.approx(theirs.embed_items(items), abs=1e-6)
    said = capsys.readouterr().out
    assert f"started from release 3: {len(model.network.variables)} variables, 8 known item_ids, 1 new" in said


def test_known_values_keep_their_index_and_new_ones_follow(parent):
    child, before = start(parent), parent[1].preprocessing.vocabularies["item_id"]
    assert child.preprocessing.vocabularies["item_id"] == [*before, NEW]
    assert child.preprocessing.moments == parent[1].preprocessing.moments


def test_a_new_items_row_is_the_mean_of_those_of_the_items_most_like_it(parent, monkeypatch):
    monkeypatch.setattr("trainer.warm_start.NEIGHBOURS", 1)
    child = start(parent)
    rows = child.network.embedding.tables["item_id"].embeddings.numpy()
    vocabulary = child.preprocessing.vocabularies["item_id"]
    # Its content is that of item i2, and of the other even ones, in every feature but the count of events.
    even = [vocabulary.index(item) + 2 for item in ("i0", "i2", "i4", "i6")]
    assert any(np.allclose(rows[-1], rows[index], atol=1e-6) for index in even)
    mean = rows[2:-1].mean(axis=0)
    assert not np.allclose(rows[-1], mean, atol=1e-4)


def test_training_goes_on_from_there(parent):
    child = start(parent, epochs=1)
    before = named_variables(parent[1].network)["query_tower:hidden:0:kernel"].numpy()
    after = named_variables(child.network)["query_tower:hidden:0:kernel"].numpy()
    assert 0 < np.abs(after - before).max() < 0.5


def test_a_parent_of_another_shape_is_refused_by_name_with_both_shapes(parent):
    config = RETRIEVAL.model_copy(update={"hidden_units": (7,)})
    with pytest.raises(ConfigError) as error:
        start(parent, config)
    assert "cannot start from release 3: variable" in str(error.value)
    assert "[7]" in str(error.value) and "Received: [8]" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_without_the_state_is_refused(parent, tmp_path):
    shutil.copytree(parent[0] / "user_tower", tmp_path / "user_tower")
    state = json.loads((tmp_path / "user_tower" / STATE).read_text())
    assert set(state) == {"vocabularies", "moments"}
    (tmp_path / "user_tower" / STATE).unlink()
    with pytest.raises(ReleaseError, match="cannot start from release 3"):
        read_parent(tmp_path / "user_tower", "release 3")
    with pytest.raises(ReleaseError, match="cannot start from release 3"):
        read_parent(tmp_path / "nothing", "release 3")

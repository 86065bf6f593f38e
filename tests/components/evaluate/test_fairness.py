import numpy as np
import pyarrow as pa
import pytest

from components.evaluate.fairness import AttributeGroups, PopularityGroups, opportunity_of_groups
from components.evaluate.items import item_members, item_vectors
from components.evaluate.moments import PastEvents
from feature_repo.errors import ConfigError
from feature_repo.spec import FeatureSpec
from tests.trainer.tiny_tables import SPEC
from trainer.metrics import UserBootstrap

DAY = 86_400_000_000
# Item 0 is x, item 1 is x and y, item 2 is y, item 3 has no tag.
ITEMS = pa.table({"item_id": ["a", "b", "c", "d"], "tags": [["x"], ["x", "y"], ["y"], None]})


def test_items_belong_to_every_value_they_have():
    names, members = item_members(SPEC, ITEMS, "tags")
    assert names == ["x", "y"]
    assert members.tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]


def test_exposure_is_discounted_by_position_and_held_against_what_was_asked_for():
    bootstrap = UserBootstrap(np.array(["u", "v"]), samples=20)
    lists = np.array([[0, 2], [1, -1]])
    x, y = AttributeGroups(SPEC, ITEMS, "tags").exposures(bootstrap, lists, np.array([0, 1]), np.zeros(2))
    # Places count 1 and 1/log2(3) = 0.6309. x: item 0 first, half of item 1 first = 1.5; y: 0.6309 + 0.5.
    total = 1.5 + 0.6309297535714575 + 0.5
    assert (x["group"], x["wanted"], x["relevance"]) == ("x", 1.5, 0.75)
    assert x["exposure"] == pytest.approx(1.5 / total)
    assert y["ratio"][0] == pytest.approx((1.1309297535714575 / total) / 0.25)


def test_group_that_nobody_asked_for_has_no_ratio():
    bootstrap = UserBootstrap(np.array(["u", "v"]), samples=20)
    groups = AttributeGroups(SPEC, ITEMS, "tags")
    x, y = groups.exposures(bootstrap, np.array([[0], [2]]), np.array([0, 0]), np.zeros(2))
    assert (y["wanted"], y["exposure"], y["ratio"]) == (0, 0.5, None)
    assert x["ratio"] == [0.5, 0.0, 1.0]


def test_groups_by_popularity_are_those_of_the_instant():
    events = PastEvents(
        timestamps=np.array([1, 2, 2, 2]) * DAY,
        items=np.array([0, 1, 1, 1]),
        users=np.array(list("uuuu"), object),
        positive=np.ones(4, bool),
    )
    bootstrap = UserBootstrap(np.array(["u", "v"]), samples=20)
    groups = PopularityGroups(events, 3, 86_400)
    instants = np.array([2, 3]) * DAY
    # Item 0 is head on day 2, when item 1 has nothing; on day 3 item 1 is head and item 0 in the middle.
    head, middle, tail = groups.exposures(bootstrap, np.array([[0], [1]]), np.array([1, 0]), instants)
    assert [row["group"] for row in (head, middle, tail)] == ["head items", "middle items", "tail items"]
    assert (head["exposure"], middle["exposure"], tail["exposure"]) == (1, 0, 0)
    assert (head["relevance"], middle["relevance"], tail["relevance"]) == (0, 0.5, 0.5)


def test_groups_of_users_are_compared_where_they_are_large_enough():
    users = np.array(list("aabbccd"))
    groups = np.array(["F", "F", "M", "M", "F", "M", "X"])
    recall = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    found = opportunity_of_groups(UserBootstrap(users, 50), users, groups, recall, smallest=2)
    assert [(row["group"], row["queries"], row["users"], row["compared"]) for row in found["groups"]] == [
        ("F", 3, 2, True),
        ("M", 3, 2, True),
        ("X", 1, 1, False),
    ]
    # X finds everything and is left out.
    assert (found["best"], found["worst"]) == ("F", "M")
    assert found["difference"][0] == pytest.approx(2 / 3 - 1 / 3)
    assert found["groups"][2]["recall"] == [1.0, None, None]


def test_one_large_group_is_compared_with_none():
    users, groups = np.array(list("abc")), np.array(["F", "F", "M"])
    found = opportunity_of_groups(UserBootstrap(users, 20), users, groups, np.ones(3), smallest=2)
    assert "difference" not in found


def test_items_are_told_apart_by_vectors_where_the_feature_is_an_embedding():
    picture = {"name": "picture", "kind": "embedding", "length": 2, "source": {"column": "picture"}}
    key = {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}}
    spec = FeatureSpec.model_validate({"user": [], "item": [key, picture]})
    table = pa.table({"picture": pa.array([[1.0, 2.0], None, [0.0, 1.0]], pa.list_(pa.float32()))})
    vectors, distance = item_vectors(spec, table, "picture")
    assert distance == "cosine"
    assert vectors.tolist() == [[1, 2], [0, 0], [0, 1]]
    assert item_vectors(SPEC, ITEMS, "tags")[1] == "jaccard"


@pytest.mark.parametrize("name", ["nothing", "title", "events"])
def test_feature_that_groups_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=f"groups by '{name}'.*Name one of: item_id, tags"):
        item_members(SPEC, ITEMS, name)

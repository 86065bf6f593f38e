"""A release whose answers can be worked out by hand: SavedModels with the contract's signatures, five items.

The user's embedding is [age, 1], an item's [likes, its number]; so retrieval scores age * likes + number.
The ranker gives sigmoid(number - 3), plus 1 inside for items of genre `a` when asked from a phone.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.spec import FeatureSpec
from serving.config import IndexConfig, RerankConfig
from serving.index import build_index
from serving.item_table import write_item_table
from serving.releases import ReleaseParts, ReleaseStore

SPEC = FeatureSpec.model_validate(
    {
        "user": [
            {
                "name": "user_id",
                "kind": "categorical",
                "source": {"column": "user_id"},
                "transform": {"type": "hash", "buckets": 10},
                "used_by": ["filter"],
            },
            {"name": "age", "kind": "numeric", "source": {"column": "age"}, "missing": 0.0},
            {
                "name": "last_likes",
                "kind": "sequence",
                "length": 2,
                "source": {"aggregate": "last", "of": "positive"},
                "transform": {"type": "vocabulary", "of": "item_id"},
            },
            {
                "name": "user_seen",
                "kind": "sequence",
                "length": 100,
                "source": {"aggregate": "last"},
                "transform": {"type": "vocabulary", "of": "item_id"},
                "used_by": ["filter"],
            },
        ],
        "item": [
            {"name": "item_id", "kind": "categorical", "source": {"column": "item_id"}},
            {"name": "genre", "kind": "categorical", "source": {"column": "genre"}},
            {"name": "likes", "kind": "numeric", "source": {"aggregate": "count", "of": "positive"}},
            {"name": "shelf", "kind": "categorical", "source": {"column": "shelf"}, "used_by": ["filter"]},
        ],
        "context": [
            {"name": "hour", "kind": "categorical", "source": {"clock": "hour"}},
            {"name": "device", "kind": "categorical", "source": {"column": "device"}, "used_by": ["ranking"]},
        ],
    }
)
ITEMS = ["1", "2", "3", "4", "5"]
GENRES = ["a", "b", "b", "a", None]
LIKES = [10.0, 40.0, 20.0, 30.0, 0.0]


def save_models(folder: Path, dimension: int = 2, largest_score: float = 1.0) -> None:
    """Writes `user_tower`, `item_tower` and `ranker` below a folder.

    Args:
        folder: where to.
        dimension: of the user tower's embedding; 2 fits.
        largest_score: factor of the ranker's score; above 1 it is out of range.
    """
    import tensorflow as tf

    def specs(rows, **dtypes):
        shapes = {name: [rows, 2] if name == "last_likes" else [rows] for name in dtypes}
        return {name: tf.TensorSpec(shapes[name], dtype, name=name) for name, dtype in dtypes.items()}

    request = {"age": tf.float32, "last_likes": tf.string, "hour": tf.string, "timestamp": tf.int64}
    item = {"item_id": tf.string, "genre": tf.string, "likes": tf.float32}
    candidates = specs(None, **item, retrieval_score=tf.float32)

    class UserTower(tf.Module):
        @tf.function(input_signature=[specs(None, **request)])
        def embed(self, inputs):
            columns = [inputs["age"], tf.ones_like(inputs["age"])] + [tf.zeros_like(inputs["age"])] * (dimension - 2)
            return {"embedding": tf.stack(columns, axis=1)}

    class ItemTower(tf.Module):
        @tf.function(input_signature=[specs(None, **item)])
        def embed(self, inputs):
            return {"embedding": tf.stack([inputs["likes"], tf.strings.to_number(inputs["item_id"])], axis=1)}

    class Ranker(tf.Module):
        @tf.function(input_signature=[{**specs(1, **request, device=tf.string), **candidates}])
        def rank(self, inputs):
            bonus = tf.cast((inputs["device"] == "phone") & (inputs["genre"] == "a"), tf.float32)
            # What is made up to warm a model up has no number.
            digits = tf.where(inputs["item_id"] == "", "0", inputs["item_id"])
            logit = tf.strings.to_number(digits) - 3.0 + bonus
            score = largest_score * tf.sigmoid(logit)
            return {"score": score, "probability": score / 2.0}

    user_tower, item_tower, ranker = UserTower(), ItemTower(), Ranker()
    tf.saved_model.save(user_tower, str(folder / "user_tower"), signatures=user_tower.embed)
    tf.saved_model.save(item_tower, str(folder / "item_tower"), signatures=item_tower.embed)
    tf.saved_model.save(ranker, str(folder / "ranker"), signatures=ranker.rank)


def item_features() -> pa.Table:
    return pa.table({"item_id": ITEMS, "genre": GENRES, "likes": pa.array(LIKES, pa.float32())})


def save_catalogue(folder: Path, window: dict[str, str] | None = None) -> None:
    """Writes `index/` and `items.arrow`."""
    vectors = np.array([[likes, int(item)] for item, likes in zip(ITEMS, LIKES, strict=True)], np.float32)
    build_index(vectors, IndexConfig(kind="brute_force")).save(folder / "index")
    titles = pa.array([f"Film {item}" for item in ITEMS])
    write_item_table(folder / "items.arrow", SPEC, item_features(), np.array(LIKES), titles, window)


def release_parts(folder: Path, policy: RerankConfig | None = None, spec: FeatureSpec = SPEC) -> ReleaseParts:
    """The parts that `save_models` and `save_catalogue` wrote."""
    for name in ("schema.pbtxt", "training_statistics.pb"):
        (folder / name).write_bytes(b"")
    return ReleaseParts(
        user_tower=folder / "user_tower",
        item_tower=folder / "item_tower",
        ranker=folder / "ranker",
        index=folder / "index",
        item_table=folder / "items.arrow",
        schema=folder / "schema.pbtxt",
        training_statistics=folder / "training_statistics.pb",
        feature_spec=spec,
        rerank_policy=policy or RerankConfig(),
    )


def release(store: ReleaseStore, made: Path, policy: RerankConfig | None = None, spec: FeatureSpec = SPEC) -> int:
    """Writes a release and makes it stable."""
    version = store.write(release_parts(made, policy, spec), {"run_id": "test"}, {}, {"blessed": True})
    store.move_stable(version, "test", "for a test", {})
    return version


class FakeUsers:
    """An online store in a dict, which can be made to fail or to hang."""

    def __init__(self, users):
        self.users = users
        self.failure = None

    def user(self, user_id):
        if self.failure is not None:
            self.failure()
        return self.users.get(user_id, {})

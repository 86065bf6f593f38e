"""Gradient-boosted trees as TensorFlow ops: no LightGBM where the model is served."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

ZERO = 1e-35
"""LightGBM takes numbers this near to 0 as 0."""

NOTHING_MISSING, ZERO_MISSING, NAN_MISSING = 0, 1, 2
_MISSING = {"None": NOTHING_MISSING, "Zero": ZERO_MISSING, "NaN": NAN_MISSING}


class TreeEnsemble(NamedTuple):
    """Trees whose nodes, leaves among them, stand in one row.

    A leaf is its own child on both sides, so all trees are walked together for as many steps as the deepest has.

    Attributes:
        roots: [trees] int32 nodes.
        depth: steps from a root to the deepest leaf.
        feature: [nodes] int32 column that a node asks for.
        threshold: [nodes] float32; numbers up to it go left.
        left, right: [nodes] int32 children.
        default_left: [nodes] bool, where a missing value goes.
        missing: [nodes] int32, what counts as missing: `NOTHING_MISSING`, `ZERO_MISSING` or `NAN_MISSING`.
        categories: [nodes] int32 row of `left_categories`; 0 for a node that asks for a number.
        left_categories: [rows, width] bool, the categories that go left; row 0 is none.
        value: [nodes] float64 of the leaves.
    """

    roots: np.ndarray
    depth: int
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    default_left: np.ndarray
    missing: np.ndarray
    categories: np.ndarray
    left_categories: np.ndarray
    value: np.ndarray

    def predict(self, rows: tf.Tensor) -> tf.Tensor:
        """Raw scores [n] float32 of [n, columns] float32, as LightGBM's `predict(raw_score=True)` gives them."""
        count, width = tf.shape(rows)[0], tf.shape(rows)[1]
        node = tf.repeat(tf.constant(self.roots)[None, :], count, axis=0)
        # One gather of a flat array is faster than one within each row.
        flat, starts = tf.reshape(rows, [-1]), (tf.range(count) * width)[:, None]
        children = np.stack([self.right, self.left], axis=1).ravel()
        for _ in range(self.depth):
            goes_left = self._goes_left(node, tf.gather(flat, starts + tf.gather(self.feature, node)))
            node = tf.gather(children, 2 * node + tf.cast(goes_left, tf.int32))
        return tf.cast(tf.reduce_sum(tf.gather(self.value, node), axis=1), tf.float32)

    def _goes_left(self, node: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        absent = tf.math.is_nan(value)
        number = tf.where(absent, 0.0, value)
        goes_left = number <= tf.gather(self.threshold, node)
        # Most models have no missing values or no categories; what they would ask for is then left out of the graph.
        if (self.missing != NOTHING_MISSING).any():
            missing = tf.gather(self.missing, node)
            is_missing = ((missing == NAN_MISSING) & absent) | ((missing == ZERO_MISSING) & (tf.abs(number) <= ZERO))
            goes_left = tf.where(is_missing, tf.gather(self.default_left, node), goes_left)
        if len(self.left_categories) > 1:
            width = self.left_categories.shape[1]
            row = tf.gather(self.categories, node)
            category = tf.cast(tf.clip_by_value(number, 0.0, float(width - 1)), tf.int32)
            listed = tf.gather_nd(self.left_categories, tf.stack([row, category], axis=-1))
            # What lies between -1 and 0 is cut off to category 0, as LightGBM does.
            known = ~absent & (number > -1.0) & (number < float(width))
            goes_left = tf.where(row > 0, listed & known, goes_left)
        return goes_left


def read_trees(model: Mapping[str, Any]) -> TreeEnsemble:
    """Reads the trees of a LightGBM model.

    Args:
        model: as of `Booster.dump_model()`, with one score a row.
    """
    nodes: list[dict[str, Any]] = []
    listed: list[list[int]] = [[]]

    def add(node: Mapping[str, Any], depth: int) -> tuple[int, int]:
        place = len(nodes)
        nodes.append({"feature": 0, "threshold": 0.0, "left": place, "right": place, "default_left": False})
        found = nodes[place]
        found.update({"missing": NOTHING_MISSING, "categories": 0, "value": float(node.get("leaf_value", 0.0))})
        if "split_feature" not in node:
            return place, depth
        found.update(feature=int(node["split_feature"]), default_left=bool(node["default_left"]))
        found["missing"] = _MISSING[node["missing_type"]]
        if node["decision_type"] == "==":
            found["categories"] = len(listed)
            listed.append([int(category) for category in str(node["threshold"]).split("||")])
        else:
            found["threshold"] = float(node["threshold"])
        found["left"], left_depth = add(node["left_child"], depth + 1)
        found["right"], right_depth = add(node["right_child"], depth + 1)
        return place, max(left_depth, right_depth)

    placed = [add(tree["tree_structure"], 0) for tree in model["tree_info"]]
    width = max((max(categories) + 1 for categories in listed if categories), default=1)
    left_categories = np.zeros((len(listed), width), bool)
    for row, categories in enumerate(listed):
        left_categories[row, categories] = True

    def column(name: str, dtype: Any) -> np.ndarray:
        return np.array([node[name] for node in nodes], dtype)

    return TreeEnsemble(
        roots=np.array([root for root, _ in placed], np.int32),
        depth=max((depth for _, depth in placed), default=0),
        feature=column("feature", np.int32),
        threshold=_rounded_down(column("threshold", np.float64)),
        left=column("left", np.int32),
        right=column("right", np.int32),
        default_left=column("default_left", bool),
        missing=column("missing", np.int32),
        categories=column("categories", np.int32),
        left_categories=left_categories,
        value=column("value", np.float64),
    )


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 up to each float64: float32 numbers are up to both or to neither."""
    nearest = np.minimum(thresholds, np.finfo(np.float32).max).astype(np.float32)
    return np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)

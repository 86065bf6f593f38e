import lightgbm
import numpy as np
import pytest
import tensorflow as tf

from trainer.rankers.tree_ensemble import read_trees

STUMP = {
    "tree_info": [
        {
            "tree_structure": {
                "split_feature": 0,
                "threshold": 2.5,
                "decision_type": "<=",
                "default_left": True,
                "missing_type": "NaN",
                "left_child": {"leaf_value": -1.0},
                "right_child": {
                    "split_feature": 1,
                    "threshold": "0||3",
                    "decision_type": "==",
                    "default_left": False,
                    "missing_type": "NaN",
                    "left_child": {"leaf_value": 5.0},
                    "right_child": {"leaf_value": 7.0},
                },
            }
        },
        {"tree_structure": {"leaf_value": 0.25}},
    ]
}


def predict(model, rows):
    return read_trees(model).predict(tf.constant(rows, tf.float32)).numpy()


def test_each_row_ends_in_its_leaf():
    rows = [[2.5, 0], [2.6, 0], [2.6, 3], [2.6, 1], [2.6, 9]]
    assert predict(STUMP, rows).tolist() == [-0.75, 5.25, 5.25, 7.25, 7.25]


def test_a_missing_number_takes_the_default_side_and_a_missing_category_the_right():
    nan = float("nan")
    assert predict(STUMP, [[nan, 0], [9, nan], [9, -1]]).tolist() == [-0.75, 7.25, 7.25]


def test_zero_counts_as_missing_where_the_tree_says_so():
    tree = {
        "split_feature": 0,
        "threshold": -1.0,
        "decision_type": "<=",
        "default_left": True,
        "missing_type": "Zero",
        "left_child": {"leaf_value": 1.0},
        "right_child": {"leaf_value": 2.0},
    }
    rows = [[0.0], [float("nan")], [0.5]]
    assert predict({"tree_info": [{"tree_structure": tree}]}, rows).tolist() == [1.0, 1.0, 2.0]
    none_missing = {**tree, "missing_type": "None"}
    assert predict({"tree_info": [{"tree_structure": none_missing}]}, rows).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("zero_as_missing", [False, True])
@pytest.mark.parametrize("use_missing", [False, True])
def test_trees_predict_as_lightgbm_does(zero_as_missing, use_missing):
    random = np.random.default_rng(0)
    rows = random.normal(size=(3000, 6)).astype(np.float32)
    rows[:, 2] = random.integers(0, 40, 3000)
    rows[:, 3] = random.integers(0, 5, 3000)
    rows[random.random(3000) < 0.3, 4] = 0.0
    rows[random.random(rows.shape) < 0.1] = np.nan
    labels = (np.nan_to_num(rows[:, 0]) + (rows[:, 2] % 7 == 3) + np.isnan(rows[:, 1]) > 0.5).astype(int)
    booster = lightgbm.train(
        {
            **{"objective": "binary", "num_leaves": 31, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1},
            **{"zero_as_missing": zero_as_missing, "use_missing": use_missing, "min_data_per_group": 5},
        },
        lightgbm.Dataset(rows, labels, categorical_feature=[2, 3]),
        num_boost_round=40,
    )
    unseen = np.concatenate([rows, random.normal(scale=3, size=(500, 6)).astype(np.float32)])
    unseen[-200:, 2:4] = random.integers(-3, 300, (200, 2))
    ensemble = read_trees(booster.dump_model())
    assert len(ensemble.left_categories) > 10
    found = tf.function(ensemble.predict, autograph=False)(tf.constant(unseen)).numpy()
    assert found == pytest.approx(booster.predict(unseen, raw_score=True), abs=1e-6)


def test_a_threshold_between_two_floats_parts_them_as_in_double_precision():
    below = np.float32(0.1)
    threshold = float(np.nextafter(np.float64(below), -1.0))
    tree = {**STUMP["tree_info"][0]["tree_structure"], "threshold": threshold, "right_child": {"leaf_value": 4.0}}
    assert predict({"tree_info": [{"tree_structure": tree}]}, [[below]]).tolist() == [4.0]

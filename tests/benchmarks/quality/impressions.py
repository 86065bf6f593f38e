"""The project's ranker as a judge of impressions, beside other classifiers on the same features."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

from feature_repo.columns import to_arrays
from feature_repo.spec import Elapsed, Feature, FeatureSpec, Log
from tests.benchmarks.quality.contestants.contestant import Params
from tests.benchmarks.quality.tuning import Budget, Trial, best_of, search
from trainer.metrics import area_under_roc, expected_calibration_error, log_loss

HASH_BUCKETS = 1 << 18


@dataclass(frozen=True)
class Impressions:
    """One split's rows.

    Attributes:
        users, items: [n] ids.
        labels: [n] int8.
        numbers: [n, columns] float32: numeric features and spans of time, genre shares and their match with the
            item's genres.
        categories: by feature [n] values.
        sets: by feature [n, length] values, "" where there is none.
        like_rates: [n] past like rate of the item.
    """

    users: np.ndarray
    items: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray
    categories: Mapping[str, np.ndarray]
    sets: Mapping[str, np.ndarray]
    like_rates: np.ndarray

    def take(self, rows: np.ndarray) -> "Impressions":
        """The rows at some places."""
        return Impressions(
            self.users[rows],
            self.items[rows],
            self.labels[rows],
            self.numbers[rows],
            {name: values[rows] for name, values in self.categories.items()},
            {name: values[rows] for name, values in self.sets.items()},
            self.like_rates[rows],
        )


def read_impressions(path: Path, spec: FeatureSpec) -> Impressions:
    """The rows of an examples file with every feature that the ranker takes, and the ids."""
    table = pq.read_table(path)
    features = (*spec.request_inputs("ranking"), *spec.inputs("item", "ranking"))
    arrays = to_arrays(features, table)
    seconds = pc.cast(table.column("timestamp"), pa.int64()).to_numpy() // 1_000_000
    numbers = [_number(feature, arrays[feature.name], seconds) for feature in features if _is_number(feature)]
    for feature in features:
        if feature.kind == "embedding":
            shares = arrays[feature.name]
            values = list(feature.source.values)
            of_item = np.stack([(arrays["genres"] == value).any(axis=1) for value in values], axis=1)
            numbers += [*shares.T, (shares * of_item).sum(axis=1)]
    categories = {f.name: arrays[f.name] for f in features if f.kind == "categorical" and f.name != "item_id"}
    return Impressions(
        users=table.column("user_id").to_numpy().astype(object),
        items=table.column("item_id").to_numpy().astype(object),
        labels=table.column("label").to_numpy().astype(np.int8),
        numbers=np.stack(numbers, axis=1).astype(np.float32),
        categories=categories,
        sets={f.name: arrays[f.name] for f in features if f.kind == "sequence"},
        like_rates=arrays["item_like_rate"],
    )


def measure(impressions: Impressions, probabilities: np.ndarray) -> dict[str, float]:
    """AUC, log loss, calibration error, and AUC within users: users alike, and by their impressions."""
    alike, by_impressions = per_user_auc(impressions.users, impressions.labels, probabilities)
    return {
        "auc": area_under_roc(impressions.labels, probabilities),
        "log_loss": log_loss(impressions.labels, probabilities),
        "ece": expected_calibration_error(impressions.labels, probabilities),
        "user_auc": alike,
        "user_auc_by_impressions": by_impressions,
    }


def per_user_auc(users: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Mean AUC of the users who have both classes: users alike, and weighted by their impressions."""
    order = np.argsort(users, kind="stable")
    _, starts = np.unique(users[order], return_index=True)
    found = [(area_under_roc(labels[rows], scores[rows]), len(rows)) for rows in np.split(order, starts[1:])]
    values, sizes = np.array([pair for pair in found if not np.isnan(pair[0])]).T
    return float(values.mean()), float(np.average(values, weights=sizes))


def logistic_regression(splits: Mapping[str, Impressions], budget: Budget, report: Callable[[str], None]) -> Any:
    """Tunes logistic regression; see `_tuned`."""
    from sklearn.linear_model import LogisticRegression

    encoded: dict[tuple, dict[str, sparse.csr_matrix]] = {}

    def matrices(params: Params) -> dict[str, sparse.csr_matrix]:
        key = (params["item_ids"], params["user_ids"], params["history_pairs"])
        if key not in encoded:
            encoded[key] = _one_hot(splits, *key)
        return encoded[key]

    def fit(params: Params, rows: list[str], found: Params | None) -> tuple[Callable[[str], np.ndarray], Params]:
        x = sparse.vstack([matrices(params)[name] for name in rows], format="csr")
        y = np.concatenate([splits[name].labels for name in rows])
        model = LogisticRegression(C=params["c"], max_iter=300).fit(x, y)
        return lambda name: model.predict_proba(matrices(params)[name])[:, 1], {}

    return _tuned(
        fit,
        splits,
        {"c": 0.03, "item_ids": True, "user_ids": False, "history_pairs": False},
        {
            "c": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            "item_ids": (True, False),
            "user_ids": (True, False),
            "history_pairs": (True, False),
        },
        budget,
        report,
    )


def boosted_trees(splits: Mapping[str, Impressions], budget: Budget, report: Callable[[str], None]) -> Any:
    """Tunes LightGBM; see `_tuned`."""
    import lightgbm

    codes = {name: _codes(splits, name) for name in splits["train"].categories}
    item_codes = _codes(splits, None)

    def matrix(name: str, params: Params) -> tuple[np.ndarray, list[int]]:
        rows = splits[name]
        genres = sorted({value for value in splits["train"].sets["genres"].ravel() if value})
        of_item = np.stack([(rows.sets["genres"] == genre).any(axis=1) for genre in genres], axis=1)
        columns = [rows.numbers, of_item, *(codes[one][name][:, None] for one in codes)]
        if params["item_ids"]:
            columns.append(item_codes[name][:, None])
        whole = np.concatenate(columns, axis=1).astype(np.float32)
        count = len(codes) + int(params["item_ids"])
        return whole, list(range(whole.shape[1] - count, whole.shape[1]))

    def fit(params: Params, rows: list[str], found: Params | None) -> tuple[Callable[[str], np.ndarray], Params]:
        x, categorical = matrix(rows[0], params)
        x = np.concatenate([x, *(matrix(name, params)[0] for name in rows[1:])])
        y = np.concatenate([splits[name].labels for name in rows])
        model = lightgbm.LGBMClassifier(
            n_estimators=3000 if found is None else found["rounds"],
            learning_rate=params["learning_rate"],
            num_leaves=params["leaves"],
            min_child_samples=params["rows_in_leaf"],
            colsample_bytree=params["feature_share"],
            subsample=params["row_share"],
            subsample_freq=1,
            reg_lambda=params["l2"],
            cat_smooth=params["category_smoothing"],
            random_state=1,
            n_jobs=2,
            verbose=-1,
        )
        stopping = {}
        if found is None:
            stopping = {
                "eval_set": [(matrix("validation", params)[0], splits["validation"].labels)],
                "callbacks": [lightgbm.early_stopping(50, verbose=False)],
            }
        model.fit(x, y, categorical_feature=categorical, **stopping)
        best = int(model.best_iteration_ or model.n_estimators)
        return lambda name: model.predict_proba(matrix(name, params)[0])[:, 1], {"rounds": best}

    return _tuned(
        fit,
        splits,
        {
            "learning_rate": 0.03,
            "leaves": 31,
            "rows_in_leaf": 50,
            "feature_share": 0.6,
            "row_share": 0.8,
            "l2": 1.0,
            "item_ids": True,
            "category_smoothing": 10.0,
        },
        {
            "learning_rate": (0.01, 0.03, 0.06),
            "leaves": (7, 15, 31, 63),
            "rows_in_leaf": (20, 50, 100, 300),
            "feature_share": (0.3, 0.5, 0.7, 1.0),
            "row_share": (0.5, 0.8, 1.0),
            "l2": (0.0, 1.0, 10.0, 50.0),
            "item_ids": (True, False),
            "category_smoothing": (10.0, 50.0, 200.0),
        },
        budget,
        report,
    )


def _tuned(
    fit: Callable[[Params, list[str], Params | None], tuple[Callable[[str], np.ndarray], Params]],
    splits: Mapping[str, Impressions],
    first: Params,
    space: Mapping[str, tuple],
    budget: Budget,
    report: Callable[[str], None],
) -> tuple[np.ndarray, list[Trial], float]:
    """Tunes by validation log loss, then fits on training and validation with what was found.

    Returns:
        Probabilities [n] of the test rows, the trials, and the seconds of the last fit.
    """

    def evaluate(params: Params) -> tuple[float, Params]:
        predict, found = fit(params, ["train"], None)
        return -log_loss(splits["validation"].labels, predict("validation")), found

    trials = search(evaluate, first, space, budget, seed=1, report=report)
    best = best_of(trials)
    begun = time.perf_counter()
    predict, _ = fit(best.params, ["train", "validation"], best.found)
    return predict("test"), trials, time.perf_counter() - begun


def _one_hot(
    splits: Mapping[str, Impressions], item_ids: bool, user_ids: bool, history_pairs: bool
) -> dict[str, sparse.csr_matrix]:
    """Standardised numbers beside one column for every known value."""
    train = splits["train"]
    mean, deviation = train.numbers.mean(axis=0), train.numbers.std(axis=0)
    scaled = {
        name: sparse.csr_matrix((rows.numbers - mean) / np.where(deviation > 0, deviation, 1.0))
        for name, rows in splits.items()
    }
    parts: dict[str, list[sparse.csr_matrix]] = {name: [one] for name, one in scaled.items()}

    def add(values: Callable[[Impressions], np.ndarray]) -> None:
        known, _ = np.unique(values(train).ravel().astype(str), return_counts=True)
        known = known[known != ""]
        for name, rows in splits.items():
            parts[name].append(_indicators(values(rows), known))

    for category in train.categories:
        add(lambda rows, category=category: rows.categories[category][:, None])
    add(lambda rows: rows.sets["genres"])
    if item_ids:
        add(lambda rows: rows.items[:, None])
    if user_ids:
        add(lambda rows: rows.users[:, None])
    if history_pairs:
        for name, rows in splits.items():
            parts[name].append(_pairs(rows.sets["user_last_likes"], rows.items))
    return {name: sparse.hstack(columns, format="csr") for name, columns in parts.items()}


def _indicators(values: np.ndarray, known: np.ndarray) -> sparse.csr_matrix:
    """[n, known] 1 where a row has the value."""
    flat = values.astype(str)
    places = np.minimum(np.searchsorted(known, flat), len(known) - 1)
    rows, columns = np.nonzero(known[places] == flat)
    matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, places[rows, columns])), (len(flat), len(known)))
    matrix.data[:] = 1.0
    return matrix


def _pairs(histories: np.ndarray, items: np.ndarray) -> sparse.csr_matrix:
    """[n, buckets] each pair of a liked item and the candidate, hashed."""
    liked = np.where(histories == "", "0", histories).astype(np.int64)
    pairs = (liked * 1_000_003 + items.astype(np.int64)[:, None] * 7_919) % HASH_BUCKETS
    rows, columns = np.nonzero(liked)
    matrix = sparse.csr_matrix(
        (np.full(len(rows), 0.2, np.float32), (rows, pairs[rows, columns])), (len(items), HASH_BUCKETS)
    )
    return matrix


def _codes(splits: Mapping[str, Impressions], category: str | None) -> dict[str, np.ndarray]:
    """By split [n] the code of each value of a category (of the item id when None); -1 where training lacks it."""

    def values(rows: Impressions) -> np.ndarray:
        return (rows.items if category is None else rows.categories[category]).astype(str)

    known = np.unique(values(splits["train"]))
    found = {}
    for name, rows in splits.items():
        places = np.minimum(np.searchsorted(known, values(rows)), len(known) - 1)
        found[name] = np.where(known[places] == values(rows), places, -1)
    return found


def _is_number(feature: Feature) -> bool:
    return feature.kind in ("numeric", "timestamp")


def _number(feature: Feature, values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The feature as the project's own models scale it, before it is standardised."""
    if isinstance(feature.transform, Log):
        return np.log1p(np.maximum(values, 0.0))
    if isinstance(feature.transform, Elapsed):
        cap = feature.transform.cap_days * 86_400.0
        return np.log1p(np.where(values > 0, np.clip(seconds - values, 0.0, cap), cap))
    return values

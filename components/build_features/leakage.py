"""Finds features that know the label, before anything is trained on them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.build_features.config import LeakageConfig
from components.build_features.label_signals import Signal, change_signals, contains, value_signals
from components.build_features.previous_rows import PreviousRows, find_previous
from feature_repo.errors import ConfigError, DataError
from feature_repo.files import write_file
from feature_repo.progress import report_progress
from feature_repo.spec import ENTITY_KEYS, AggregateSource, Feature, FeatureSpec, history
from trainer.metrics import area_under_roc

_DEVIATIONS = 3.0
"""Width of the confidence bounds: with hundreds of signals, chance alone must not raise an alarm."""


@dataclass(frozen=True)
class Leakage:
    """What a feature tells about the label, or a history about the row's own item.

    Attributes:
        feature: its name.
        how: what of it tells.
        measure: `AUC`, or `share` of rows.
        value: as measured.
        at_least: lower confidence bound of it.
        limit: the largest that is allowed.
    """

    feature: str
    how: str
    measure: str
    value: float
    at_least: float
    limit: float

    @property
    def found(self) -> bool:
        """Whether it is more than chance and more than is allowed."""
        return self.at_least > self.limit


def check_leakage(
    features: FeatureSpec, train: pa.Table, validation: pa.Table, config: LeakageConfig, report: Path
) -> None:
    """Refuses training rows of which a feature knows the label.

    Args:
        features: the feature spec.
        train: the training rows.
        validation: rows of a later time: says whether a finding holds there too.
        config: section `leakage`.
        report: JSON to write, strongest feature first, whatever is found.

    Raises:
        DataError: naming the features, what of them tells the label and how well.
        ConfigError: `leakage.allowed` names no feature that a model takes.
    """
    names = {feature.name for side in ("user", "item", "context") for feature in history(features.of(side))}
    unknown = sorted(set(config.allowed) - names)
    if unknown:
        raise ConfigError(
            f"`leakage.allowed` must name features that a model takes. Received: {unknown[0]!r}. Mend or remove it."
        )
    if not config.check:
        return
    measured = measure_leakage(features, train, config)
    write_file(json.dumps([{**asdict(one), "found": one.found} for one in measured], indent=1).encode(), report)
    guilty = [one for one in measured if one.found and one.feature not in config.allowed]
    if guilty:
        raise DataError(_refusal(guilty, measure_leakage(features, validation, config)))
    report_progress(_summary(measured))


def measure_leakage(features: FeatureSpec, rows: pa.Table, config: LeakageConfig) -> list[Leakage]:
    """The strongest signal of every feature that a model takes, strongest first; both measures where both apply.

    Args:
        features: the feature spec.
        rows: examples, with every feature as a column.
        config: section `leakage`.
    """
    labels = rows.column("label").to_numpy().astype(np.int8)
    instants = pc.cast(rows.column("timestamp"), pa.int64()).to_numpy()
    codes = {key: _codes(rows.column(key)) for key in ENTITY_KEYS.values()}
    in_time = np.argsort(instants, kind="stable")
    pairs = codes["user_id"].astype(np.int64) * (len(labels) + 1) + codes["item_id"]
    met_first = np.zeros(len(labels), bool)
    met_first[in_time[np.unique(pairs[in_time], return_index=True)[1]]] = True
    sample = in_time[_sample(labels[in_time], config.sample_rows)]

    found: list[Leakage] = []
    for side in ("user", "item", "context"):
        before = find_previous(codes[ENTITY_KEYS[side]], instants, labels) if side in ENTITY_KEYS else None
        for feature in history(features.of(side)):
            column = rows.column(feature.name)
            values = _take(column, sample)
            seconds = instants[sample] // 1_000_000
            signals = [(signal, labels[sample]) for signal in value_signals(feature, values, labels[sample], seconds)]
            if before is not None and feature.name != ENTITY_KEYS[side]:
                signals += _changes(feature, column, before, config.sample_rows)
                if feature.kind in ("categorical", "sequence"):
                    other = ENTITY_KEYS["item" if side == "user" else "user"]
                    ids = _take(rows.column(other), sample)
                    own = contains(feature, values, ids)
                    how = f"whether the row's own {other} is in it"
                    signals.append((Signal(how, own.astype(np.float64)), labels[sample]))
                    new = met_first[sample] & _is_new(feature, column, before.of_row[sample], ids)
                    found += _own_shares(feature, other, own[new], labels[sample][new], config)
            found += _strongest(feature, signals, config)
    return sorted(found, key=lambda one: (not one.found, one.measure != "AUC", -one.value))


def _take(column: pa.ChunkedArray, places: np.ndarray) -> pa.Array:
    return column.take(pa.array(places)).combine_chunks()


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().dictionary_encode().indices.to_numpy()


def _changes(
    feature: Feature, column: pa.ChunkedArray, before: PreviousRows, most: int
) -> Iterator[tuple[Signal, np.ndarray]]:
    sample = _sample(before.labels, most)
    current, previous = _take(column, before.rows[sample]), _take(column, before.previous[sample])
    for signal in change_signals(feature, current, previous):
        yield signal, before.labels[sample]


def _is_new(feature: Feature, column: pa.ChunkedArray, previous: np.ndarray, ids: pa.Array) -> np.ndarray:
    """[n] bool: rows whose own id has no honest way into the feature, as far as the entity's instant before shows.

    An id that an aggregate held a moment earlier has come there by no fault of this row's. An attribute does not move,
    so what it held earlier excuses nothing.
    """
    known = previous >= 0
    if not isinstance(feature.source, AggregateSource):
        return known
    return known & ~contains(feature, _take(column, np.maximum(previous, 0)), ids)


def _strongest(
    feature: Feature, signals: Iterable[tuple[Signal, np.ndarray]], config: LeakageConfig
) -> Iterator[Leakage]:
    """The simplest signal that tells too much, or else the one whose AUC is surely the largest."""
    measured = []
    for signal, labels in signals:
        known = ~np.isnan(signal.scores)
        auc = area_under_roc(labels[known], signal.scores[known])
        if np.isnan(auc):
            continue
        auc = auc if signal.learned else max(auc, 1 - auc)
        positives = int(labels[known].sum())
        # The variance of an AUC is at most A (1 - A) / min(positives, negatives) (Birnbaum and Klose, 1957).
        bound = lower_bound(auc, min(positives, int(known.sum()) - positives))
        measured.append(Leakage(feature.name, f"by {signal.how}", "AUC", auc, bound, config.largest_auc))
    if measured:
        strongest = max(measured, key=lambda one: (one.at_least, one.value))
        yield next((one for one in measured if one.found), strongest)


def _own_shares(
    feature: Feature, other: str, own: np.ndarray, labels: np.ndarray, config: LeakageConfig
) -> Iterator[Leakage]:
    """The larger share of rows with their own id in the feature, among positives and among negatives."""
    shares = []
    for label, name in ((1, "positive"), (0, "negative")):
        inside = own[labels == label]
        if inside.any():
            how = f"of {name} rows hold their own {other}, though user and item had not met before"
            share = float(inside.mean())
            bound = lower_bound(share, len(inside))
            shares.append(Leakage(feature.name, how, "share", share, bound, config.largest_own_share))
    if shares:
        yield max(shares, key=lambda one: (one.at_least, one.value))


def lower_bound(share: float, count: int) -> float:
    """Wilson's lower bound of a share measured on `count` rows; 0 where there is none."""
    if not count:
        return 0.0
    squared = _DEVIATIONS**2 / count
    middle = share + squared / 2
    return float((middle - np.sqrt(squared * (share * (1 - share) + squared / 4))) / (1 + squared))


def _sample(labels: np.ndarray, most: int) -> np.ndarray:
    """At most `most` rows, ascending: half of them positive where there are so many, or all that there are."""
    if len(labels) <= most:
        return np.arange(len(labels))
    positives, negatives = np.flatnonzero(labels > 0), np.flatnonzero(labels <= 0)
    wanted = min(len(positives), max(most // 2, most - len(negatives)))
    random = np.random.default_rng(0)
    taken = [random.choice(positives, wanted, replace=False), random.choice(negatives, most - wanted, replace=False)]
    return np.sort(np.concatenate(taken))


def _summary(measured: list[Leakage]) -> str:
    strongest = next((one for one in measured if one.measure == "AUC"), None)
    if strongest is None:
        return "leakage: the training rows have one label alone, nothing to look at"
    allowed = sorted({one.feature for one in measured if one.found})
    beyond = f" beyond what is allowed ({', '.join(allowed)})" if allowed else ""
    return (
        f"leakage: none found{beyond}; strongest single feature {strongest.feature}, AUC {strongest.value:.2f} "
        f"{strongest.how}"
    )


def _refusal(guilty: list[Leakage], later: list[Leakage]) -> str:
    there = {(one.feature, one.measure): one for one in later}
    told = []
    for one in guilty:
        again = there.get((one.feature, one.measure))
        confirmed = "" if again is None else f", {again.value:.3f} in the validation window"
        told.append(f"`{one.feature}` ({one.measure} {one.value:.3f} {one.how}{confirmed})")
    features = "a feature knows" if len({one.feature for one in guilty}) == 1 else "features know"
    return (
        f"{features} what is to be predicted: {'; '.join(told)}. Nothing was trained. Take the value as it was before "
        "the row's instant, or remove the feature; if it is known in advance, name it under `leakage.allowed`."
    )

"""What the values of one feature could tell about the label: one number a row, by which rows can be ordered."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.spec import Feature

_FOLDS = 5
_PRIOR_WEIGHT = 5.0
_BINS = 64


class Signal(NamedTuple):
    """One number a row.

    Attributes:
        how: what of the feature it is, as a person would say it.
        scores: [n] float64; nan where a row has none.
        learned: rows were ordered by what the labels of other rows say, so only the one direction counts.
    """

    how: str
    scores: np.ndarray
    learned: bool = False


def value_signals(feature: Feature, column: pa.Array, labels: np.ndarray, seconds: np.ndarray) -> Iterator[Signal]:
    """Signals of the values themselves.

    Values that are names (ids, words) are scored by the share of positives among other rows with the same name. Those
    other rows are of other stretches of time: a name that belongs to one row or one visit, such as a request's id,
    tells nothing there.

    Args:
        feature: whose values they are.
        column: [n] as stored, ordered by time.
        labels: [n] 0 or 1.
        seconds: [n] unix seconds of the rows.
    """
    present = pc.is_valid(column).to_numpy(zero_copy_only=False)
    if not present.all():
        yield Signal("whether it is present", present.astype(np.float64))
    if feature.kind in ("numeric", "timestamp"):
        values = numbers(column)
        yield Signal("its value", values)
        if feature.kind == "timestamp":
            yield Signal("the time since it", seconds - values)
        yield Signal("the range of its value", _learn(labels, _bins(values)), learned=True)
    elif feature.kind == "embedding":
        for place, values in enumerate(vectors(feature, column).T):
            yield Signal(f"its dimension {place}", values)
    elif feature.kind == "sequence":
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        yield Signal("its length", lengths.astype(np.float64))
        yield Signal("its first entry", _learn(labels, _codes(first_entries(column))), learned=True)
        yield from _entry_signals("entries", labels, column)
    else:
        yield Signal("its values", _learn(labels, _codes(column)), learned=True)
        if feature.kind == "text":
            encoded = column.dictionary_encode()
            words = pc.utf8_split_whitespace(pc.utf8_lower(encoded.dictionary))
            yield from _entry_signals("words", labels, words.take(encoded.indices))


def change_signals(feature: Feature, current: pa.Array, previous: pa.Array) -> Iterator[Signal]:
    """Signals of how a feature moved since the entity's previous instant.

    A feature read strictly before a row moves by what the rows before did; one that moves by the row's own outcome was
    read too late.

    Args:
        feature: whose values they are.
        current: [n] values as stored.
        previous: [n] values of the same entities at their previous instants.
    """
    if feature.kind == "embedding":
        moved = np.nansum(np.abs(vectors(feature, current) - vectors(feature, previous)), axis=1)
        yield Signal("its change", moved + _differs(pc.is_valid(current), pc.is_valid(previous)))
        return
    if feature.kind in ("numeric", "timestamp"):
        yield Signal("its change", numbers(current) - numbers(previous))
    if feature.kind == "sequence":
        lengths = [pc.fill_null(pc.list_value_length(column), 0) for column in (current, previous)]
        newest = [first_entries(column) for column in (current, previous)]
        changed = np.maximum(_differs(*lengths), _differs(*newest))
    else:
        changed = _differs(current, previous)
    yield Signal("whether it changed", changed)


def contains(feature: Feature, column: pa.Array, ids: pa.Array) -> np.ndarray:
    """[n] bool: whether the row's id is the value, or among the entries, of its categorical or sequence feature."""
    if feature.kind != "sequence":
        return pc.fill_null(pc.equal(column, ids), False).to_numpy(zero_copy_only=False)
    rows, entries = _entries(column)
    same = pc.fill_null(pc.equal(entries, ids.take(pa.array(rows))), False).to_numpy(zero_copy_only=False)
    return np.bincount(rows[same], minlength=len(column)) > 0


def numbers(column: pa.Array) -> np.ndarray:
    """[n] float64; nan where there is none."""
    return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def vectors(feature: Feature, column: pa.Array) -> np.ndarray:
    """[n, length] float64; nan where a row has none."""
    present = pc.equal(pc.fill_null(pc.list_value_length(column), 0), feature.length).to_numpy(zero_copy_only=False)
    found = np.full((len(column), feature.length or 0), np.nan)
    found[present] = numbers(column.filter(pa.array(present)).flatten()).reshape(-1, feature.length or 1)
    return found


def first_entries(column: pa.Array) -> pa.Array:
    """[n] the first entry of each list; null where there is none."""
    rows, entries = _entries(column)
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    places = np.full(len(column), -1)
    places[rows[firsts]] = firsts
    return entries.take(pa.array(places, mask=places < 0))


def _entries(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """[m] the row of every entry, ascending, and the [m] entries."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(column)), lengths), column.flatten()


def _entry_signals(what: str, labels: np.ndarray, column: pa.Array) -> Iterator[Signal]:
    rows, entries = _entries(column)
    if not len(rows):
        return
    learned = _learn(labels, _codes(entries), rows)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    for name, reduce in (("best", np.maximum), ("worst", np.minimum)):
        scores = np.full(len(column), labels.mean())
        scores[rows[starts]] = reduce.reduceat(learned, starts)
        yield Signal(f"the {name} of its {what}", scores, learned=True)
    counts = np.bincount(rows, minlength=len(column))
    sums = np.bincount(rows, weights=learned, minlength=len(column))
    means = np.divide(sums, counts, out=np.full(len(column), labels.mean()), where=counts > 0)
    yield Signal(f"the mean of its {what}", means, learned=True)


def _learn(labels: np.ndarray, codes: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Smoothed share of positives among the rows of the other folds that have the same code.

    Args:
        labels: [n], of rows ordered by time: a fold is a stretch of it.
        codes: [m] from 0.
        rows: [m] the row of each code; code i is row i's when absent.
    """
    rows = np.arange(len(labels)) if rows is None else rows
    folds = np.arange(len(labels)) * _FOLDS // max(len(labels), 1)
    size = int(codes.max(initial=-1)) + 1
    cells = folds[rows] * size + codes
    positives = np.bincount(cells, weights=labels[rows], minlength=_FOLDS * size)
    counts = np.bincount(cells, minlength=_FOLDS * size)
    other_positives = positives.reshape(_FOLDS, size).sum(axis=0)[codes] - positives[cells]
    others = counts.reshape(_FOLDS, size).sum(axis=0)[codes] - counts[cells]
    return (other_positives + _PRIOR_WEIGHT * labels.mean()) / (others + _PRIOR_WEIGHT)


def _codes(column: pa.Array) -> np.ndarray:
    """[n] a number a distinct value; absent ones share one."""
    return column.dictionary_encode("encode").indices.to_numpy(zero_copy_only=False)


def _bins(values: np.ndarray) -> np.ndarray:
    """[n] place between the quantiles; absent values have a place of their own."""
    present = values[~np.isnan(values)]
    if not len(present):
        return np.zeros(len(values), np.int64)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1)))
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right"))


def _differs(current: pa.Array, previous: pa.Array) -> np.ndarray:
    """[n] 1.0 where two values differ, or only one of them is present."""
    same = pc.if_else(
        pc.and_(pc.is_valid(current), pc.is_valid(previous)),
        pc.fill_null(pc.equal(current, previous), False),
        pc.equal(pc.is_valid(current), pc.is_valid(previous)),
    )
    return 1.0 - same.to_numpy(zero_copy_only=False)

"""Running totals of every entity at every instant at which one of them changes.

An event of time e counts from e + 1 µs on: a row read as of e does not contain it. In a window of w it counts up
to and with e + w, so at the instant t the window holds the events with t - w <= e < t.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import ibis
import ibis.expr.types as ir

from feature_repo.spec import AggregateSource, Feature

AT = "event_timestamp"
"""The first instant at which a row holds."""

NAIVE = "timestamp(6)"
"""Microseconds without a time zone: UTC throughout."""

EPOCH = "1970-01-01 00:00:00"
DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True)
class Total:
    """Something that is summed over the events of an entity.

    Attributes:
        of: which events: `any`, or only `positive` ones.
        window_days: trailing window; all of the past when absent.
        by, value: only events of items whose attribute `by` has this value.
    """

    of: Literal["any", "positive"]
    window_days: float | None = None
    by: str | None = None
    value: str | None = None


class Totals:
    """The totals that some features need, and the columns that hold them."""

    def __init__(self, features: Iterable[Feature]):
        self._columns: dict[Total, str] = {}
        # The number of events so far says which entries a list ends at.
        for of in ("any", "positive"):
            self._add(Total(of))
        for feature in features:
            if isinstance(feature.source, AggregateSource):
                for total in totals_of(feature.source):
                    self._add(total)

    def _add(self, total: Total) -> None:
        self._columns.setdefault(total, f"total_{len(self._columns)}")

    def __iter__(self) -> Iterator[Total]:
        return iter(self._columns)

    def column(self, total: Total) -> str:
        """The column of a total."""
        return self._columns[total]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns."""
        return tuple(self._columns.values())

    @property
    def windows(self) -> tuple[float, ...]:
        """Windows in days, each once."""
        return tuple(sorted({total.window_days for total in self._columns if total.window_days is not None}))


def totals_of(source: AggregateSource) -> tuple[Total, ...]:
    """The totals that an aggregate is worked out from: for a `rate` positives and events, for a `share` one a value."""
    if source.aggregate == "count":
        return (Total(source.of, source.window_days),)
    if source.aggregate == "rate":
        return (Total("positive", source.window_days), Total("any", source.window_days))
    if source.aggregate == "share":
        return tuple(Total("positive", by=source.by, value=value) for value in source.values)
    return ()


def last_column(of: str) -> str:
    """The column that holds the instant of the last event, `any` or `positive`."""
    return f"last_{of}"


def change_points(entities: ir.Table, events: ir.Table, items: ir.Table, key: str, totals: Totals) -> ir.Table:
    """The totals of each entity at each instant at which one of them changes.

    Args:
        entities: their ids in the column `key`.
        events: with `key`, `item_id`, `positive` and `timestamp`, a naive timestamp in UTC.
        items: the attributes that totals are made by.
        key: the entity's column.
        totals: what is wanted.

    Returns:
        `key`, `event_timestamp` (naive, UTC), the columns of `totals`, and `last_any` and `last_positive` (naive; null
        before the first). One row for each entity at the epoch.
    """
    amounts = _amounts(events, items, key, totals)
    steps = [_base(entities, key, totals), _gains(amounts, key, totals)]
    steps += [_losses(amounts, key, totals, window) for window in totals.windows]
    kept = ibis.union(*steps).semi_join(entities, key)
    last = [last_column(of) for of in ("any", "positive")]
    changes = kept.group_by(key, AT).aggregate(
        **{column: kept[column].sum() for column in totals.columns}, **{column: kept[column].max() for column in last}
    )
    so_far = ibis.window(group_by=key, order_by=AT, preceding=None, following=0)
    return changes.select(
        key,
        AT,
        **{column: changes[column].sum().over(so_far) for column in totals.columns},
        **{column: changes[column].max().over(so_far) for column in last},
    )


def _amounts(events: ir.Table, items: ir.Table, key: str, totals: Totals) -> ir.Table:
    """For each event what it adds to each total."""
    attributes = sorted({total.by for total in totals if total.by is not None})
    columns = {"id": items["item_id"], **{f"by_{place}": items[name] for place, name in enumerate(attributes)}}
    joined = events
    if attributes:
        of_items = items.select(**columns)
        joined = events.left_join(of_items, events["item_id"] == of_items["id"])
    amounts = {}
    for total in totals:
        counts = joined["positive"] if total.of == "positive" else ibis.literal(True)
        if total.by is not None:
            attribute = joined[f"by_{attributes.index(total.by)}"]
            counts = counts & _has(attribute, str(total.value)).fill_null(False)
        amounts[totals.column(total)] = counts.cast("int64")
    return joined.select(joined[key], joined["timestamp"], joined["positive"], **amounts)


def _has(attribute: ir.Column, value: str) -> ir.BooleanColumn:
    if attribute.type().is_array():
        return attribute.contains(value)
    return attribute.cast("string") == value


def _base(entities: ir.Table, key: str, totals: Totals) -> ir.Table:
    nothing = ibis.null().cast(NAIVE)
    return entities.select(
        key,
        **{AT: ibis.literal(EPOCH).cast(NAIVE)},
        **{column: ibis.literal(0).cast("int64") for column in totals.columns},
        **{last_column("any"): nothing, last_column("positive"): nothing},
    )


def _gains(amounts: ir.Table, key: str, totals: Totals) -> ir.Table:
    time = amounts["timestamp"]
    return amounts.select(
        key,
        **{AT: time + ibis.interval(microseconds=1)},
        **{column: amounts[column] for column in totals.columns},
        **{
            last_column("any"): time,
            last_column("positive"): ibis.ifelse(amounts["positive"], time, ibis.null().cast(NAIVE)),
        },
    )


def _losses(amounts: ir.Table, key: str, totals: Totals, window_days: float) -> ir.Table:
    """What leaves a window."""
    leaving = [total for total in totals if total.window_days == window_days]
    if all(total.of == "positive" for total in leaving):
        amounts = amounts.filter(amounts["positive"])
    lost = {totals.column(total) for total in leaving}
    nothing = ibis.null().cast(NAIVE)
    return amounts.select(
        key,
        **{AT: amounts["timestamp"] + ibis.interval(microseconds=window_microseconds(window_days) + 1)},
        **{column: -amounts[column] if column in lost else ibis.literal(0).cast("int64") for column in totals.columns},
        **{last_column("any"): nothing, last_column("positive"): nothing},
    )


def window_microseconds(window_days: float) -> int:
    """A window's width."""
    return round(window_days * DAY_MICROSECONDS)


def newest_entries(events: ir.Table, key: str, other: str, of: str, length: int, only_last: bool) -> ir.Table:
    """The newest ids of the other side after each event of an entity.

    Args:
        events: as for `change_points`.
        key: the entity's column.
        other: the column that is listed.
        of: `any` event, or only `positive` ones.
        length: most entries.
        only_last: the list after the last event only; quick for long lists.

    Returns:
        `key`, `number` (how many events the entity had, this one included) and `entries`, newest first; events
        of one instant in the order of `other`.
    """
    events = events.filter(events["positive"]) if of == "positive" else events
    newest_first: Sequence[ir.Value] = (ibis.desc(events["timestamp"]), ibis.asc(events[other]))
    if only_last:
        listed = events.group_by(key).aggregate(
            number=events.count(), entries=events[other].collect(order_by=newest_first)
        )
        return listed.mutate(entries=listed["entries"][:length])
    older = ibis.window(group_by=key, order_by=newest_first, preceding=0, following=length - 1)
    all_older = ibis.window(group_by=key, order_by=newest_first, preceding=0, following=None)
    return events.select(key, number=events[other].count().over(all_older), entries=events[other].collect().over(older))

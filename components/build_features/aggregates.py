"""Feature tables from events: what is known of each user and item, and from when on.

A table holds one row for every instant at which a value of the entity changes: one microsecond after each of its
events, and one microsecond after an event leaves a trailing window (the window of w at the instant t holds the events
with t - w <= time < t). Counts are running sums of what enters and leaves at those instants.
"""

from collections.abc import Iterable

import ibis
import ibis.expr.types as ir
from ibis import _

from feature_repo.spec import ENTITY_KEYS, AggregateSource, ColumnSource, Feature

_MICROSECONDS_A_DAY = 86_400_000_000


def feature_history(
    side: str, features: Iterable[Feature], events: ir.Table, entities: ir.Table, items: ir.Table
) -> ir.Table:
    """All values that the features of one side ever had.

    Args:
        side: `user` or `item`.
        features: of that side; the key is not among them.
        events: as `feature_repo.tables.EVENTS`.
        entities: the users or items table.
        items: the items table, for shares by an attribute.

    Returns:
        The entity's key, `event_timestamp` and one column a feature, ordered by key and time. Every entity of
        `entities` or `events` has a row at the epoch.
    """
    features = tuple(features)
    acts = _acts(side, events)
    known = entities.select(entity=_[ENTITY_KEYS[side]]).union(acts.select("entity")).distinct()
    changes = _changes(features, acts, items)
    measures = [name for name in changes.columns if name not in ("entity", "instant")]
    base = known.mutate(instant=ibis.literal(0, "int64"), **{name: ibis.null("int64") for name in measures})
    changes = changes.union(base.select(changes.columns))
    table = _running(changes, measures)
    for feature in features:
        if isinstance(feature.source, AggregateSource) and feature.source.aggregate == "last":
            table = table.asof_join(_latest_at_each_instant(feature, acts), "instant", predicates="entity")
            table = table.drop([name for name in table.columns if name.endswith("_right")])
    return _finished(side, features, table, entities)


def feature_state(
    side: str, features: Iterable[Feature], events: ir.Table, entities: ir.Table, items: ir.Table
) -> ir.Table:
    """The values after the last event: one row an entity, with the last instant as its `event_timestamp`.

    Same arguments as `feature_history`. Long lists are built once here, not at every instant.
    """
    features = tuple(features)
    acts = _acts(side, events)
    end = acts.aggregate(end=_.at.max() + 1)
    changes = _changes(features, acts, items).cross_join(end).filter(_.instant <= _.end).drop("end")
    measures = [name for name in changes.columns if name not in ("entity", "instant")]
    known = entities.select(entity=_[ENTITY_KEYS[side]]).union(acts.select("entity")).distinct()
    totals = changes.group_by("entity").aggregate(**{name: _total(name) for name in measures})
    table = known.left_join(totals, "entity").drop("entity_right")
    for feature in features:
        if isinstance(feature.source, AggregateSource) and feature.source.aggregate == "last":
            lists = _latest_of_all(feature, acts)
            table = table.left_join(lists, "entity").drop("entity_right")
    table = table.cross_join(end).mutate(instant=_.end).drop("end")
    return _finished(side, features, table, entities)


def _acts(side: str, events: ir.Table) -> ir.Table:
    """Events as one side sees them: `entity`, the `other` side's id, `at` in microseconds, `positive`."""
    key, other = ENTITY_KEYS[side], ENTITY_KEYS["item" if side == "user" else "user"]
    at = _.timestamp.epoch_seconds() * 1_000_000 + _.timestamp.microsecond()
    return events.select(entity=_[key], other=_[other], at=at, positive=_.positive)


def _changes(features: tuple[Feature, ...], acts: ir.Table, items: ir.Table) -> ir.Table:
    """What enters and leaves each measure at each instant, int64: one row an entity and instant.

    Measures are named after what they count, so that features share them: `any`, `positive`, `any_<window>`, ...,
    `share_<attribute>_<place>` and `at_any`, `at_positive`, which are the latest instants.
    """
    sources = [feature.source for feature in features if isinstance(feature.source, AggregateSource)]
    windows = sorted({s.window_days for s in sources if s.window_days is not None})
    shares = {(s.by, s.values) for s in sources if s.aggregate == "share" and s.by}
    one, positive = ibis.literal(1, "int64"), _.positive.cast("int64")
    nothing = ibis.literal(0, "int64")

    entering = {"any": one, "positive": positive}
    for window in windows:
        entering |= {_measure("any", window): one, _measure("positive", window): positive}
    entering |= {"at_any": _.at, "at_positive": ibis.ifelse(_.positive, _.at, ibis.null("int64"))}
    for by, values in sorted(shares):
        attribute = items.select(item=_.item_id, attribute=_[by])
        acts = acts.left_join(attribute, acts.other == attribute.item).drop("item")
        for place, value in enumerate(values):
            scalar = not attribute.attribute.type().is_array()
            has = (_.attribute == value) if scalar else _.attribute.contains(value)
            entering[f"share_{by}_{place}"] = (has.fill_null(False) & _.positive).cast("int64")
        acts = acts.mutate(**{f"share_{by}_{place}": entering[f"share_{by}_{place}"] for place in range(len(values))})
        entering |= {f"share_{by}_{place}": _[f"share_{by}_{place}"] for place in range(len(values))}
        acts = acts.drop("attribute")

    parts = [acts.select(entity=_.entity, instant=_.at + 1, **entering)]
    for window in windows:
        gone = {_measure("any", window): -one, _measure("positive", window): -positive}
        at = dict.fromkeys(("at_any", "at_positive"), ibis.null("int64"))
        length = round(window * _MICROSECONDS_A_DAY)
        parts.append(
            acts.select(
                entity=_.entity,
                instant=_.at + length + 1,
                **{name: gone.get(name, at.get(name, nothing)) for name in entering},
            )
        )
    union = ibis.union(*parts) if len(parts) > 1 else parts[0]
    return union.group_by("entity", "instant").aggregate(**{name: _total(name) for name in entering})


def _measure(of: str, window_days: float | None) -> str:
    return of if window_days is None else f"{of}_{round(window_days * _MICROSECONDS_A_DAY)}"


def _total(measure: str) -> ir.Scalar:
    return _[measure].max() if measure.startswith("at_") else _[measure].sum()


def _running(changes: ir.Table, measures: list[str]) -> ir.Table:
    """Every measure as it stands at each instant."""
    until = ibis.window(group_by="entity", order_by="instant", preceding=None, following=0)
    return changes.select("entity", "instant", **{name: _total(name).over(until) for name in measures})


def _latest_at_each_instant(feature: Feature, acts: ir.Table) -> ir.Table:
    """The last ids after each event, newest first; ids of one instant in their own order."""
    acts = _counted(feature, acts)
    newest_first = [ibis.desc(_.at), _.other]
    frame = ibis.window(group_by="entity", order_by=newest_first, preceding=0, following=(feature.length or 1) - 1)
    of_instant = ibis.window(group_by=["entity", "at"], order_by=_.other)
    listed = acts.mutate(ids=_.other.collect().over(frame), place=ibis.row_number().over(of_instant))
    return listed.filter(_.place == 0).select(entity=_.entity, instant=_.at + 1, **{feature.name: _.ids})


def _latest_of_all(feature: Feature, acts: ir.Table) -> ir.Table:
    """The last ids after the last event, newest first."""
    order = ibis.window(group_by="entity", order_by=[ibis.desc(_.at), _.other])
    ranked = _counted(feature, acts).mutate(place=ibis.row_number().over(order)).filter(_.place < (feature.length or 1))
    return ranked.group_by("entity").aggregate(**{feature.name: _.other.collect(order_by=_.place)})


def _counted(feature: Feature, acts: ir.Table) -> ir.Table:
    source = feature.source
    return acts.filter(_.positive) if isinstance(source, AggregateSource) and source.of == "positive" else acts


def _finished(side: str, features: tuple[Feature, ...], table: ir.Table, entities: ir.Table) -> ir.Table:
    """Features from measures and attributes, in the types of the feature tables."""
    columns = [f.source.column for f in features if isinstance(f.source, ColumnSource)]
    attributes = entities.select(entity=_[ENTITY_KEYS[side]], **{f"attribute_{name}": _[name] for name in columns})
    table = table.left_join(attributes, "entity").drop("entity_right")
    return table.select(
        **{ENTITY_KEYS[side]: _.entity},
        event_timestamp=_.instant,
        **{feature.name: _value(feature).cast(_type(feature)) for feature in features},
    ).order_by([ENTITY_KEYS[side], "event_timestamp"])


def _value(feature: Feature) -> ir.Value:
    source = feature.source
    if isinstance(source, ColumnSource):
        return _[f"attribute_{source.column}"]
    if not isinstance(source, AggregateSource):
        raise ValueError(f"feature {feature.name} cannot come from the clock")
    count = _[_measure(source.of, source.window_days)].fill_null(0)
    match source.aggregate:
        case "count":
            return count
        case "rate":
            events = _[_measure("any", source.window_days)].fill_null(0)
            positives = _[_measure("positive", source.window_days)].fill_null(0)
            smoothed = (positives + source.prior_weight * source.prior_mean) / (events + source.prior_weight)
            return smoothed
        case "share":
            parts = [_[f"share_{source.by}_{place}"] / _.positive for place in range(len(source.values))]
            return ibis.ifelse(_.positive.fill_null(0) > 0, ibis.array(parts), ibis.null(_type(feature)))
        case "last_timestamp":
            return _[f"at_{source.of}"] // 1_000_000
        case _:
            return _[feature.name]


def _type(feature: Feature) -> str:
    return {
        "categorical": "string",
        "text": "string",
        "numeric": "float32",
        "timestamp": "int64",
        "sequence": "array<string>",
        "embedding": "array<float32>",
    }[feature.kind]

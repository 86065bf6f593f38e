"""How far what is served has moved from what the release was trained on."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.validate.statistics import columns_of, find_anomalies
from feature_repo.spec import ClockSource, Feature

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

_NAMES = {"L_INFTY": "L-infinity", "JENSEN_SHANNON_DIVERGENCE": "Jensen-Shannon"}


@dataclass(frozen=True)
class Distance:
    """Between the values of a feature in training and in serving.

    Attributes:
        feature: its name.
        measure: `Jensen-Shannon` of numbers, `L-infinity` of strings.
        value: in [0, 1].
        judged: whether a large distance is a finding. Not of items, because what is shown was chosen by the models; not
            of clock features, which follow the window's hours.
    """

    feature: str
    measure: str
    value: float
    judged: bool


@dataclass(frozen=True)
class Finding:
    """What is not as it was in training.

    Attributes:
        feature: its name.
        kind: `anomaly` where values do not fit the schema, `drift` where their distribution has moved.
        text: what is wrong, for people.
        value, threshold: of a drift, the distance and the largest that passes.
    """

    feature: str
    kind: Literal["anomaly", "drift"]
    text: str
    value: float | None = None
    threshold: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def schema_findings(
    statistics: "DatasetFeatureStatisticsList", schema: "Schema", names: Iterable[str]
) -> list[Finding]:
    """Where what is served does not fit the schema.

    Args:
        statistics: of what is served.
        schema: of the training rows.
        names: the features that `statistics` should have.
    """
    part = _part(schema, names)
    return [Finding(a.column, "anomaly", f"{a.short}: {a.long}") for a in find_anomalies(statistics, part)]


def measure_distances(
    serving: "DatasetFeatureStatisticsList",
    training: "DatasetFeatureStatisticsList",
    schema: "Schema",
    features: Iterable[Feature],
    judged: bool,
) -> list[Distance]:
    """The distance of every feature that both have values of.

    Instants are left out: they move with time by their nature.

    Args:
        serving, training: statistics.
        schema: of the training rows.
        features: which to compare.
        judged: whether large distances are findings.
    """
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

    there, here = columns_of(training), columns_of(serving)
    compared = {
        feature.name: feature
        for feature in features
        if feature.kind != "timestamp" and _comparable(there.get(feature.name), here.get(feature.name))
    }
    part = _part(schema, compared)
    for column in part.feature:
        # Measured always, judged later: nothing passes a threshold of zero unless it is equal.
        comparator = column.drift_comparator
        if column.type == schema_pb2.BYTES:
            comparator.infinity_norm.threshold = 0.0
        else:
            comparator.jensen_shannon_divergence.threshold = 0.0
    found = tfdv.validate_statistics(serving, part, previous_statistics=training)
    kinds = anomalies_pb2.DriftSkewInfo.Measurement.Type
    return [
        Distance(
            name,
            _NAMES[kinds.Name(measurement.type)],
            measurement.value,
            judged and not isinstance(compared[name].source, ClockSource),
        )
        for info in found.drift_skew_info
        if (name := info.path.step[-1]) in compared
        for measurement in info.drift_measurements
        # Values that are no numbers have no distance; they are anomalies.
        if math.isfinite(measurement.value)
    ]


def drift_findings(distances: Iterable[Distance], threshold: float) -> list[Finding]:
    """The judged distances above the threshold, the largest first."""
    far = [distance for distance in distances if distance.judged and distance.value > threshold]
    far.sort(key=lambda distance: -distance.value)
    return [
        Finding(
            distance.feature,
            "drift",
            f"{distance.measure} distance {distance.value:.3f}, more than {threshold:g}",
            distance.value,
            threshold,
        )
        for distance in far
    ]


def _comparable(one: Any, other: Any) -> bool:
    """Whether both have values, of the same kind."""
    if one is None or other is None or one.WhichOneof("stats") != other.WhichOneof("stats"):
        return False
    return all(getattr(c, c.WhichOneof("stats")).common_stats.num_non_missing for c in (one, other))


def _part(schema: "Schema", names: Iterable[str]) -> "Schema":
    from tensorflow_metadata.proto.v0 import schema_pb2

    wanted = set(names)
    part = schema_pb2.Schema()
    part.feature.extend(feature for feature in schema.feature if feature.name in wanted)
    return part

"""When serving statistics count as moved."""

from pydantic import Field

from feature_repo.model import StrictModel


class MonitorConfig(StrictModel):
    """Section `monitor` of a project config.

    Attributes:
        drift_threshold: largest distance between serving and training that passes (Jensen-Shannon divergence of
            numeric features, L-infinity of categorical ones).
        window_hours: how far back requests are looked at.
        minimum_requests: windows with fewer requests are reported, not judged.
        largest_sample: most requests that statistics are made from; of more, so many are drawn at random.
    """

    drift_threshold: float = Field(default=0.15, gt=0)
    window_hours: float = Field(default=24.0, gt=0)
    minimum_requests: int = Field(default=100, ge=1)
    largest_sample: int = Field(default=50_000, ge=1)

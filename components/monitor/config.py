"""When serving statistics count as moved."""

from pydantic import Field

from feature_repo.model import StrictModel


class MonitorConfig(StrictModel):
    """Section `monitor` of a project config.

    Attributes:
        drift_threshold: largest distance between serving and training that passes (Jensen-Shannon divergence of
            numeric features, L-infinity of categorical ones).
        minimum_requests: windows with fewer requests are reported, not judged.
    """

    drift_threshold: float = Field(default=0.15, gt=0)
    minimum_requests: int = Field(default=100, ge=1)

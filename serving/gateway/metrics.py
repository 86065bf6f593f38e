"""What the gateway tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from serving.telemetry import TelemetryWriter

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)


class GatewayMetrics:
    """Counters and histograms of one gateway, in a registry of its own."""

    def __init__(self, release: int, telemetry: TelemetryWriter):
        """Takes the release that is served and the writer whose losses are shown."""
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "recloop_gateway_requests", "Requests for recommendations by HTTP status.", ["status"], registry=registry
        )
        self.latency = Histogram(
            "recloop_gateway_request_seconds", "Time of a whole request.", buckets=_BUCKETS, registry=registry
        )
        self.stages = Histogram(
            "recloop_gateway_stage_seconds", "Time of each stage.", ["stage"], buckets=_BUCKETS, registry=registry
        )
        self.fallbacks = Counter(
            "recloop_gateway_fallbacks", "Degraded answers by the stage that failed.", ["stage"], registry=registry
        )
        served = Gauge("recloop_gateway_release", "1 for the release served.", ["release"], registry=registry)
        served.labels(release).set(1)
        self._registry.register(_TelemetryCollector(lambda: (telemetry.written, telemetry.dropped)))

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _TelemetryCollector(Collector):
    """Reads the writer's own counts when it is scraped."""

    def __init__(self, counts: Callable[[], tuple[int, int]]):
        self._counts = counts

    def collect(self) -> list[CounterMetricFamily]:
        """Records written and dropped."""
        written, dropped = self._counts()
        return [
            CounterMetricFamily("recloop_gateway_telemetry_written", "Prediction records kept.", value=written),
            CounterMetricFamily("recloop_gateway_telemetry_dropped", "Prediction records lost.", value=dropped),
        ]

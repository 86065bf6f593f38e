"""What the gateway records about every answer."""

from serving.telemetry.predictions import PredictionRecord, read_predictions
from serving.telemetry.writer import TelemetryWriter

__all__ = ["PredictionRecord", "TelemetryWriter", "read_predictions"]

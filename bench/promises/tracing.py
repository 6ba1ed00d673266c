"""The SDK of OpenTelemetry without an exporter, in the server and in the client under test."""

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

__all__ = ["start_sdk"]


def start_sdk() -> None:
    """Have every span and duration recorded, and dropped."""
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))

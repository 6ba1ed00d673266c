"""`fastrpc run --otel`: the SDK of OpenTelemetry, started in each process that serves.

The SDK's threads do not survive a fork, so it is started in each worker before the sources, and stopped after them. The
SDK reads the variables `OTEL_*` itself, except the names of exporters.
"""

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from typing import Any, Final

from fastrpc.errors import ConfigError

__all__ = ["check_sdk", "telemetry"]

_HINT: Final = "pip install 'fastrpc[otel-sdk]'"

#: The exporters for which `otlp` stands, by protocol.
_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def check_sdk() -> None:
    """Raise ConfigError if the SDK is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("opentelemetry", "opentelemetry.sdk")):
        raise ConfigError("--otel needs opentelemetry-sdk, which is not installed", hint=_HINT)


@asynccontextmanager
async def telemetry() -> AsyncIterator[list[Any]]:
    """Run the SDK while the sources are entered; this source has no services.

    A provider that the program sets itself is kept.

    Raises:
        ConfigError: the environment names an exporter that is not installed or cannot start.
    """
    providers = [] if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" else list(_start())
    try:
        yield []
    finally:
        for provider in providers:
            # `shutdown` sends the remaining records over the network.
            await asyncio.to_thread(provider.shutdown)


def _start() -> Iterator[Any]:
    """Set the global providers that the program has not set, and yield them."""
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        tracers = TracerProvider(shutdown_on_exit=False)
        for exporter in _exporters("traces"):
            tracers.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(tracers)
        yield tracers
    if not isinstance(metrics.get_meter_provider(), MeterProvider | NoOpMeterProvider):
        readers = [
            exporter if isinstance(exporter, MetricReader) else PeriodicExportingMetricReader(exporter)
            for exporter in _exporters("metrics")
        ]
        meters = MeterProvider(readers, shutdown_on_exit=False)
        metrics.set_meter_provider(meters)
        yield meters


def _exporters(signal: str) -> Iterator[Any]:
    """Yield the exporters in `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER`; OTLP if the variable is not set."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    for name in (os.environ.get(variable) or "otlp").split(","):
        name = name.strip()
        if name != "none":
            yield _exporter(signal, name, variable)


def _exporter(signal: str, name: str, variable: str) -> Any:
    installed = _OTLP.get(_protocol(signal), name) if name == "otlp" else name
    found = list(entry_points(group=f"opentelemetry_{signal}_exporter", name=installed))
    if not found:
        raise ConfigError(f"--otel: {variable} names {name!r}, which is not installed", hint=_HINT)
    try:
        return found[0].load()()
    except Exception as error:
        raise ConfigError(f"--otel: the exporter {name!r} of {variable} does not start: {error}") from error


def _protocol(signal: str) -> str:
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
    return (own or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf").strip()

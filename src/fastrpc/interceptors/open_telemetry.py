"""The interceptor that records spans and metrics of calls by OpenTelemetry."""

from typing import TYPE_CHECKING, Any

from fastrpc._core.calls.call import Call
from fastrpc.errors import ConfigError
from fastrpc.rpc.interceptor import Proceed

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["OpenTelemetry"]


class OpenTelemetry:
    """Record a span and the duration of each call, and propagate the trace from client to server.

    ::

        Server(Arith, interceptors=[OpenTelemetry()])
        Client(target, interceptors=[OpenTelemetry()])

    The trace context is sent in the call's metadata, in the form of OpenTelemetry's global propagator: `traceparent`
    and `tracestate` unless `OTEL_PROPAGATORS` says otherwise. The attempts of a client's call are events of its span; a
    stream is one span. Reflection, health checks and the registry's own calls have no spans.

    It needs the extra `otel`, the API of OpenTelemetry. Without an SDK nothing is recorded, and only calls with a trace
    to propagate take longer. A provider that is set later is used from the next call on.

    Args:
        tracer_provider: the provider of the tracer; None: the global provider, which may be set later.
        meter_provider: the provider of the histograms of durations; None: the global provider.

    Raises:
        ConfigError: the package `opentelemetry-api` is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
    ) -> None:
        try:
            # Import this late: the package is optional.
            from fastrpc.interceptors.spans import CallSpans
        except ImportError as error:
            raise ConfigError(
                f"OpenTelemetry() needs opentelemetry-api: {error}", hint="pip install 'fastrpc[otel]'"
            ) from error
        self._spans = CallSpans(tracer_provider, meter_provider)
        #: `Chain` calls this function before each call. If there is nothing to record or to propagate, it skips this
        #: object.
        self._concerns = self._spans.concern

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Run a call inside its span."""
        spans = self._spans
        if not spans.traces(call.method):
            return await proceed(call)
        begun = spans.begin(call)
        try:
            return await proceed(call)
        finally:
            spans.end(call, begun)

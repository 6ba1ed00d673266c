"""Spans and durations of calls, by the API of OpenTelemetry. Only `open_telemetry` imports it, on first use."""

import sys
import time
import weakref
from collections.abc import MutableMapping
from contextvars import Token
from typing import Any, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator

from fastrpc._core.calls.call import Call
from fastrpc._version import __version__
from fastrpc.endpoint import Address, Endpoint
from fastrpc.interceptors.conventions import (
    ATTEMPT,
    ATTEMPT_NUMBER,
    BUCKETS,
    CLIENT_DURATION,
    ERROR_TYPE,
    ERRORS,
    GRPC,
    METHOD,
    METHOD_ORIGINAL,
    OTHER,
    PEER_ADDRESS,
    PEER_PORT,
    SCHEMA_URL,
    SERVER_ADDRESS,
    SERVER_DURATION,
    SERVER_PORT,
    STATUS,
    SYSTEM,
    SYSTEM_NAME,
)
from fastrpc.status import Status

__all__ = ["CallSpans"]

_SCOPE = "fastrpc"

#: Most methods with separate names in spans, as a client may call any number of methods.
_METHODS = 1_000

#: Built-in services without spans: they are called in the background or polled.
_UNTRACED = ("fastrpc.reflection.", "fastrpc.health.", "fastrpc.registry.")

# The namespace in which the API stores the providers of the process.
_TRACE_NAMES = vars(trace)
_METER_NAMES = vars(sys.modules.get("opentelemetry.metrics._internal", metrics))
_UNKNOWN = object()

_KINDS = {"client": trace.SpanKind.CLIENT, "server": trace.SpanKind.SERVER}


class _Begun(NamedTuple):
    """A call under way."""

    span: trace.Span
    attributes: dict[str, Any]
    #: The token that restores the previous context; None if the context was not changed.
    token: Token[Context] | None
    began: float


class _Metadata(Getter[MutableMapping[str, str]], Setter[MutableMapping[str, str]]):
    """The access of a propagator to a call's metadata, whose keys are in lower case."""

    def get(self, carrier: MutableMapping[str, str], key: str) -> list[str] | None:
        """Return the texts under a key."""
        value = carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: MutableMapping[str, str]) -> list[str]:
        """Return all keys."""
        return list(carrier)

    def set(self, carrier: MutableMapping[str, str], key: str, value: str) -> None:
        """Set the text of a key; replace a text that the program has set."""
        carrier[key.lower()] = value


_METADATA = _Metadata()


class _Fields:
    """The keys of metadata that the global propagator reads."""

    def __init__(self) -> None:
        self._propagator: TextMapPropagator | None = None
        self._keys: frozenset[bytes] = frozenset()

    def keys(self) -> frozenset[bytes]:
        """Return the keys in the form of encoded metadata."""
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._keys = frozenset(field.lower().encode() for field in propagator.fields)
            self._propagator = propagator
        return self._keys


class _Recording:
    """Finds out whether spans or durations of calls are recorded, which depends on the providers.

    With `OTEL_SDK_DISABLED` an SDK sets providers that do nothing.
    """

    def __init__(
        self, tracer_provider: trace.TracerProvider | None, meter_provider: metrics.MeterProvider | None
    ) -> None:
        self._given = tracer_provider, meter_provider
        #: The global providers for which `_is_on` was determined.
        self._global: tuple[Any, Any] | None = None
        self._is_on = False

    def is_on(self) -> bool:
        """Return whether a call that starts now is recorded."""
        # Read the API's variables directly: while no provider is set, its functions read the environment each time,
        # which takes longer than a whole call. If a version lacks these names, every call counts as recorded.
        providers = (
            _TRACE_NAMES.get("_TRACER_PROVIDER", _UNKNOWN),
            _METER_NAMES.get("_METER_PROVIDER", _UNKNOWN),
        )
        if providers != self._global:
            self._is_on = self._records_spans(providers[0]) or self._records_durations(providers[1])
            self._global = providers
        return self._is_on

    def _records_spans(self, of_process: Any) -> bool:
        provider = self._given[0]
        if provider is None and of_process is None:
            return False
        return not isinstance(trace.get_tracer(_SCOPE, __version__, provider, SCHEMA_URL), trace.NoOpTracer)

    def _records_durations(self, of_process: Any) -> bool:
        provider = self._given[1]
        if provider is None and of_process is None:
            return False
        return not isinstance(metrics.get_meter(_SCOPE, __version__, provider, SCHEMA_URL), metrics.NoOpMeter)


class CallSpans:
    """Starts and ends the spans of calls."""

    def __init__(
        self, tracer_provider: trace.TracerProvider | None, meter_provider: metrics.MeterProvider | None
    ) -> None:
        self._recording = _Recording(tracer_provider, meter_provider)
        self._fields = _Fields()
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider, SCHEMA_URL)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider, SCHEMA_URL)
        self._durations = {
            side: meter.create_histogram(
                name,
                unit="s",
                description=f"Measures the duration of {text} Remote Procedure Call (RPC).",
                explicit_bucket_boundaries_advisory=BUCKETS,
            )
            for side, name, text in (
                ("client", CLIENT_DURATION, "an outgoing"),
                ("server", SERVER_DURATION, "an incoming"),
            )
        }
        self._methods: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        #: Attributes of servers, by the pools of clients.
        self._servers: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def concern(self, call: Call | None) -> bool:
        """Return whether a call has something to record or propagate. None: a call that a client is about to make."""
        if self._recording.is_on():
            return call is None or self.traces(call.method)
        if call is None:
            return bool(contexts.get_current())
        return call._has_received(self._fields.keys())

    def traces(self, method: str) -> bool:
        """Return whether calls of a method get spans. Calls of some built-in services do not."""
        return not method.startswith(_UNTRACED)

    def begin(self, call: Call) -> _Begun:
        """Start the span of a call, and make it the current span."""
        side = call.side
        peer = call.peer
        system = GRPC if peer is not None and peer.protocol == GRPC else SYSTEM_NAME
        name, attributes = self._methods.get((call.method, system)) or self._of_method(call.method, system)
        if side == "client":
            attributes = attributes | self._server_of(call)
        around: Context | None = None
        if side == "server":
            metadata = call.metadata
            # A served call belongs to the trace of its caller, even if the server's context has another trace.
            around = propagate.extract(metadata, Context(), _METADATA) if metadata else Context()
        original = {METHOD_ORIGINAL: _full(call.method)} if attributes[METHOD] == OTHER else {}
        span = self._tracer.start_span(name, around, kind=_KINDS[side], attributes=attributes | original)
        begun = time.perf_counter()
        span_context = span.get_span_context()
        if not span_context.is_valid and not around:
            if side == "client" and contexts.get_current():
                # The context may have data to propagate, such as baggage. With an empty context, do not touch the
                # encoded metadata.
                propagate.inject(call.metadata, None, _METADATA)
            return _Begun(span, attributes, None, begun)
        inside = trace.set_span_in_context(span, around)
        token = contexts.attach(inside)
        if side == "client":
            propagate.inject(call.metadata, inside, _METADATA)
        if span_context.is_valid:
            call.state["trace_id"] = trace.format_trace_id(span_context.trace_id)
        if side == "client" and span.is_recording():
            _watch_attempts(call, span)
        return _Begun(span, attributes, token, begun)

    def end(self, call: Call, begun: _Begun) -> None:
        """End the span of a call and record the outcome."""
        seconds = time.perf_counter() - begun.began
        span, side = begun.span, call.side
        status = Status.CANCELLED if call.status is None else Status(call.status)
        outcome: dict[str, Any] = {STATUS: status.name}
        if status in ERRORS[side]:
            outcome[ERROR_TYPE] = status.name
        if span.is_recording():
            span.set_attributes(outcome)
            if side == "client":
                span.set_attributes(_peer_of(getattr(call, "endpoint", None)))
            if ERROR_TYPE in outcome:
                span.set_status(trace.StatusCode.ERROR)
        self._durations[side].record(seconds, {**begun.attributes, **outcome})
        span.end()
        if begun.token is not None:
            contexts.detach(begun.token)

    def _of_method(self, method: str, system: str) -> tuple[str, dict[str, Any]]:
        """Return the span name and the attributes of a method."""
        if len(self._methods) >= _METHODS:
            # Beyond the limit, do not create further series of each metric.
            return system, {SYSTEM: system, METHOD: OTHER}
        full = _full(method)
        found = self._methods[method, system] = full, {SYSTEM: system, METHOD: full}
        return found

    def _server_of(self, call: Any) -> dict[str, Any]:
        """Return the attributes of a client's target, which all its calls share."""
        pool = call._options.shared.pool
        if pool is None:
            # A server's client of a peer uses a connection that the peer opened, so there is no target.
            return {}
        found = self._servers.get(pool)
        if found is None:
            found = self._servers[pool] = _server_at(pool.target)
        return found


def _full(method: str) -> str:
    """Return the full name of a method in the form of OpenTelemetry's conventions: `service/method`."""
    service, _, name = method.rpartition(".")
    return f"{service}/{name}"


def _server_at(target: Any) -> dict[str, Any]:
    """Return the attributes of a target: an address, a text for several addresses, or the service in a registry."""
    if target.registry is not None or len(target.endpoints) != 1:
        return {SERVER_ADDRESS: str(target)}
    return _place(target.endpoints[0].address, SERVER_ADDRESS, SERVER_PORT)


def _watch_attempts(call: Any, span: trace.Span) -> None:
    """Add an event to the span for each attempt."""

    def began(number: int, endpoint: Endpoint | None) -> None:
        span.add_event(ATTEMPT, {ATTEMPT_NUMBER: number, **_peer_of(endpoint)})

    call._on_attempt = began


def _peer_of(endpoint: Endpoint | None) -> dict[str, Any]:
    """Return the attributes of the server of an attempt."""
    return {} if endpoint is None else _place(endpoint.address, PEER_ADDRESS, PEER_PORT)


def _place(address: Address, name: str, port: str) -> dict[str, Any]:
    """Return the attributes of an address: a host and its port, or the path of a socket."""
    return {name: address.host, port: address.port} if address.host else {name: address.path}

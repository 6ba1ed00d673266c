"""Channels of grpc.aio, over a client of the gRPC wire."""

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Self

import grpc
from grpc import aio

from fastrpc.client.client import Client
from fastrpc.client.inside import pool_of, state_of
from fastrpc.config import TLS
from fastrpc.grpc.aio import calls, interception, stream_calls
from fastrpc.grpc.definitions import GeneratedMethod, callable_method
from fastrpc.grpc.grpcio_credentials import checked_credentials, checked_tls
from fastrpc.grpc.handlers import class_of
from fastrpc.grpc.instrumentation import warn_of_wrapped
from fastrpc.grpc.message_limits import as_given
from fastrpc.grpc.names import compressor_of, split_path
from fastrpc.grpc.options import channel_options
from fastrpc.grpc.service_config import Unprocessed, parse_service_config
from fastrpc.grpc.targets import target_of
from fastrpc.rpc.given_coders import GivenCoders
from fastrpc.rpc.signature import Kind

__all__ = [
    "AioChannel",
    "StreamStreamMultiCallable",
    "StreamUnaryMultiCallable",
    "UnaryStreamMultiCallable",
    "UnaryUnaryMultiCallable",
    "insecure_channel",
    "secure_channel",
]

CLOSED = "Channel is closed."

#: The most cached views of the client, one for each combination of options.
MOST_VIEWS = 64

_CALLS: Mapping[Kind, type[Any]] = {
    "server_stream": stream_calls.UnaryStreamCall,
    "client_stream": stream_calls.StreamUnaryCall,
    "both_ways": stream_calls.StreamStreamCall,
}


def insecure_channel(
    target: str,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: Any = None,
    interceptors: Sequence[Any] | None = None,
    *,
    credentials: Any = None,
) -> "AioChannel":
    """Return a channel without encryption.

    Args:
        credentials: a token, or a function that returns a token, as for `Client`.

    Raises:
        ConfigError: the target cannot be dialled.
    """
    warn_of_wrapped("grpc.aio.insecure_channel", interceptors)
    return AioChannel(target, None, options, compression, interceptors, credentials)


def secure_channel(
    target: str,
    tls: TLS,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: Any = None,
    interceptors: Sequence[Any] | None = None,
    *,
    credentials: Any = None,
) -> "AioChannel":
    """Return a channel with TLS: `tls` is a `fastrpc.TLS`.

    Raises:
        TypeError: the certificates or credentials are objects of grpcio, which hide their contents.
    """
    warn_of_wrapped("grpc.aio.secure_channel", interceptors)
    return AioChannel(target, checked_tls(tls), options, compression, interceptors, credentials)


class AioChannel(aio.Channel):  # type: ignore[misc]
    """Makes the calls of generated stubs."""

    def __init__(
        self,
        target: str,
        tls: TLS | None,
        options: Sequence[tuple[str, Any]] | None,
        compression: Any,
        interceptors: Sequence[Any] | None,
        credentials: Any,
    ) -> None:
        found = channel_options(options, compression, tls)
        self.rules = parse_service_config(found.service_config, retries=found.retries)
        policy = found.policy or self.rules.policy or "pick_first"
        where = target_of(target, is_encrypted=tls is not None, policy=policy)
        self._limits = found.limits
        self.interceptors = interception.sorted_by_kind(interceptors or ())
        self.client = Client(
            where.target,
            selector=where.selector,
            fail_mode=Unprocessed(),
            credentials=checked_credentials(credentials),
            config=found.config,
        )
        #: The running unary calls, by the futures that signal their ends. `others` has the other calls, which callers
        #: may drop before the end.
        self.under_way: dict[asyncio.Future[None], Any] = {}
        self.others: weakref.WeakSet[Any] = weakref.WeakSet()
        self._views: dict[Any, Client] = {}
        self._functions: dict[Any, Callable[..., Any]] = {}
        self._connecting: asyncio.Task[None] | None = None
        #: Whether new calls are refused.
        self.is_closing = False

    def view(
        self, timeout: float | None, wait_for_ready: bool | None, compression: Any, retries: Any
    ) -> Client:
        """Return the client with the options of a call."""
        key = timeout, wait_for_ready, compression, retries
        view = self._views.get(key)
        if view is None:
            options: dict[str, Any] = {}
            if timeout is not None:
                options["timeout"] = max(0.0, timeout)
            if wait_for_ready is not None:
                options["wait_for_ready"] = wait_for_ready
            if compression is not None:
                options["compressor"] = compressor_of(compression)
            if retries is not None:
                options["fail_mode"] = retries
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            view = self._views[key] = self.client.with_options(**options)
        return view

    def function(
        self, kind: Kind, path: str | bytes, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        """Return the client's function for a method. All stubs share it, because there may be many stubs."""
        key = kind, path, encode, decode
        function = self._functions.get(key)
        if function is None:
            response = class_of(decode)
            coders = self._limits.around(GivenCoders(encode, decode, decode, response), "CLIENT")
            generated = GeneratedMethod(kind, response=response, coders=coders)
            function = self._functions[key] = callable_method(*split_path(path), generated)
        return function

    # The life of the channel

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel. Running calls are cancelled if they have not ended after `grace` seconds."""
        if grace is not None and grace < 0:
            raise ValueError(f"grace is {grace}, it must be a number of seconds from 0 on")
        self.is_closing = True
        if not grace:
            # Cancelled first, before their interceptors can start another call, which would be refused from now on.
            for call in list(self.others):
                call.cancel()
        active = [call for call in (*self.under_way.values(), *self.others) if not call.done()]
        if active and grace:
            ends = [asyncio.ensure_future(call.code()) for call in active]
            for end in (await asyncio.wait(ends, timeout=grace))[0]:
                # This only marks the error as retrieved. The call's caller gets the error.
                end.exception()
        for call in active:
            call.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        await self.client.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connections."""
        pool = pool_of(self.client)
        if pool.is_closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if any(connection.is_ready for connection in pool.connections):
            return grpc.ChannelConnectivity.READY
        if try_to_connect and (self._connecting is None or self._connecting.done()):
            self._connecting = asyncio.get_running_loop().create_task(self.client.ready())
        if any(subchannel.is_dialing for subchannel in pool.subchannels):
            return grpc.ChannelConnectivity.CONNECTING
        if any(subchannel.was_dialed for subchannel in pool.subchannels):
            return grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the state has changed."""
        state_of(self.client).use()
        while self.get_state() is last_observed_state:
            await pool_of(self.client).wait_changed()

    async def channel_ready(self) -> None:
        """Return once there is a connection."""
        await self.client.ready()

    # The callers of methods

    def unary_unary(self, method: str, *coders: Any, **named: Any) -> "_MultiCallable":
        """Return a callable for a method with one request and one answer."""
        return UnaryUnaryMultiCallable(self, method, "unary", *coders, **named)

    def unary_stream(self, method: str, *coders: Any, **named: Any) -> "_MultiCallable":
        """Return a callable for a method that streams its answers."""
        return UnaryStreamMultiCallable(self, method, "server_stream", *coders, **named)

    def stream_unary(self, method: str, *coders: Any, **named: Any) -> "_MultiCallable":
        """Return a callable for a method that takes a stream."""
        return StreamUnaryMultiCallable(self, method, "client_stream", *coders, **named)

    def stream_stream(self, method: str, *coders: Any, **named: Any) -> "_MultiCallable":
        """Return a callable for a method that streams both ways."""
        return StreamStreamMultiCallable(self, method, "both_ways", *coders, **named)


class _MultiCallable:
    """Calls one method."""

    def __init__(
        self,
        channel: AioChannel,
        method: str,
        kind: Kind,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = None,
    ) -> None:
        self._channel = channel
        self._path = method
        self._kind = kind
        self._coders = request_serializer or as_given, response_deserializer or bytes
        self._function = channel.function(kind, method, *self._coders)
        self._rules = channel.rules.rules_for(*split_path(method))
        self._interceptors = channel.interceptors[kind]

    def begin(self, details: aio.ClientCallDetails, request: Any, compression: Any = None) -> Any:
        """Make a call, without interceptors; `request` may be a stream of requests."""
        checked_credentials(details.credentials, of_call=True)
        function = self._function
        if details.method != self._path:
            function = self._channel.function(self._kind, details.method, *self._coders)
        view = self._view(details.timeout, details.wait_for_ready, compression)
        return self._made(view, function, request, details.metadata)

    def _view(self, timeout: float | None, wait_for_ready: bool | None, compression: Any) -> Client:
        rules = self._rules
        if rules.timeout is not None:
            timeout = rules.timeout if timeout is None else min(timeout, rules.timeout)
        if wait_for_ready is None:
            wait_for_ready = rules.wait_for_ready
        return self._channel.view(timeout, wait_for_ready, compression, rules.retries)

    @cached_property
    def _plain_view(self) -> Client:
        return self._view(None, None, None)

    def _made(self, view: Client, function: Callable[..., Any], request: Any, metadata: Any) -> Any:
        if self._channel.is_closing:
            raise aio.UsageError(CLOSED)
        takes_stream = self._kind != "server_stream"
        block = calls.block_for(metadata) if metadata else None
        stream: Any = view.open(function) if takes_stream else view.stream(function, request)
        _send_block(stream.origin, block)
        loop = asyncio.get_running_loop()
        made = _CALLS[self._kind](stream, request if takes_stream else None, loop)
        self._channel.others.add(made)
        return made

    def __call__(
        self,
        request: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        """Begin a call."""
        if not self._interceptors:
            if credentials is not None:
                checked_credentials(credentials, of_call=True)
            is_plain = timeout is wait_for_ready is compression is None
            view = self._plain_view if is_plain else self._view(timeout, wait_for_ready, compression)
            return self._made(view, self._function, request, metadata)
        details = aio.ClientCallDetails(self._path, timeout, metadata, credentials, wait_for_ready)
        begin = partial(self.begin, compression=compression)
        made = interception.intercepted(self._kind, self._interceptors, begin, details, request)
        self._channel.others.add(made)
        return made


def _send_block(call: Any, block: bytes | None) -> None:
    """Send encoded metadata with a call, if there is some."""
    if block is not None:
        call._send_block(block)


class UnaryUnaryMultiCallable(_MultiCallable, aio.UnaryUnaryMultiCallable):  # type: ignore[misc]
    """Calls a method with one request and one answer."""

    def _made(self, view: Client, function: Callable[..., Any], request: Any, metadata: Any) -> Any:
        channel = self._channel
        if channel.is_closing:
            raise aio.UsageError(CLOSED)
        # Check the metadata before making the call, because a call that was made must be awaited.
        block = calls.block_for(metadata) if metadata else None
        call: Any = view.call(function, request)
        _send_block(call, block)
        return calls.UnaryUnaryCall(call, channel.under_way)


class UnaryStreamMultiCallable(_MultiCallable, aio.UnaryStreamMultiCallable):  # type: ignore[misc]
    """Calls a method that streams its answers."""


class StreamUnaryMultiCallable(_MultiCallable, aio.StreamUnaryMultiCallable):  # type: ignore[misc]
    """Calls a method that takes a stream."""


class StreamStreamMultiCallable(_MultiCallable, aio.StreamStreamMultiCallable):  # type: ignore[misc]
    """Calls a method that streams both ways."""

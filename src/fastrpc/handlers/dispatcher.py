"""The Python part of serving: all steps off the hot path."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.base.nearest_name import NameIndex
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.calls.invocation import Chain, invoke
from fastrpc._core.link.failure import Failure
from fastrpc._core.payload.marshal import Marshal
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.memory_budget import Room
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc._core.server.served_stream import ServedStream, drive
from fastrpc.assigned_numbers import VALUE_CODECS
from fastrpc.codecs.base import codec_label, codec_with_id
from fastrpc.compressors.base import Compressor
from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError, FastRPCError
from fastrpc.gauges import Gauge, tells_gauges
from fastrpc.handlers.failures import Failures
from fastrpc.handlers.generator_job import GeneratorJob
from fastrpc.handlers.life import Life
from fastrpc.handlers.misplaced import MisplacedClients
from fastrpc.handlers.packing import CountedPacking
from fastrpc.handlers.thread_job import AwaitedJob, ThreadJob
from fastrpc.handlers.thread_pool import ThreadPool
from fastrpc.handlers.unpacking import Unpacking, unknown_compressor
from fastrpc.peers.packing import Packing, PackingDone
from fastrpc.peers.peer import Peer, limit_name_of
from fastrpc.peers.peer_client import PeerCalling
from fastrpc.protocols.base import LastRequest, PeerConnection, serves_pages_by_http2
from fastrpc.rpc.interceptor import Interceptor, admits_none
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import BUILTIN_PREFIX
from fastrpc.status import Status
from fastrpc.tls.certificate import certificate_of
from fastrpc.tls.failures import HandshakeError

__all__ = ["Dispatcher", "accepted_address"]

#: The most methods listed in the error for a method name that resembles none of them.
SHOWN_NAMES = 10

#: Interval of the checks whether all connections have drained, in seconds.
_LOOK_SECONDS = 0.02

_WITH_ITERATOR = "with an iterator of messages (a list: iter(…))"

#: How a client calls each kind of method, for error texts.
_SHAPES = {
    "unary": "takes no stream and gives one answer: write client.call(…)",
    "client_stream": f"gives one answer to a stream: write client.call(…) {_WITH_ITERATOR}",
    "server_stream": "answers with a stream: write client.stream(…)",
    "both_ways": f"answers a stream with a stream: write client.stream(…) {_WITH_ITERATOR}",
}


class Dispatcher:
    """The slow paths of served calls: unknown names, interceptors, threads, compression, errors."""

    #: The store of the server, for `current_store`; None if it has none.
    store: Any = None

    #: The broker of the server, for `current_broker`; None if it has none.
    broker: Any = None

    def __init__(
        self,
        interceptors: Sequence[Interceptor],
        workers: ThreadPool,
        config: ServerConfig,
        life: Life,
        calling: PeerCalling,
        address_of: Callable[[PeerConnection], Address],
    ) -> None:
        self.gate: Gate
        self._failures = Failures(life, expose_errors=config.expose_errors)
        #: The interceptors around served calls.
        self.chain = Chain(interceptors, self._handle, self._note_failure, admits_none)
        self._proceed = self.chain.proceed()
        self._workers = workers
        self._config = config
        self._life = life
        self._misplaced = MisplacedClients(config.protocols, speaks_http2=serves_pages_by_http2(config))
        self._calling = calling
        self._address_of = address_of
        # The transports of the addresses at which the server listens.
        self._schemes: set[str] = set()
        tells_gauges(self)
        # `_names`: the index for suggestions on unknown names. `_indexed`: `RouteTable.changes` when it was built.
        self._names = NameIndex(())
        self._indexed = 0
        # `_first_names`: the method names to list in an error text. `_services`: the names of all services.
        self._first_names = ""
        self._services: set[str] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._watching = 0
        self._unpacking = Unpacking(config.limits.message_bytes, config.admission.queue_age)
        self._packings: dict[ServerCall, Packing] = {}
        #: A gateway sets this function. It returns the reason why an unknown method may be added later, or None.
        self.why_absent: Callable[[str], str | None] | None = None
        #: Whether a record about omitted metadata entries was logged.
        self.has_told_dropped = False
        #: Called after a connection was lost.
        self.on_lost: Callable[[], None] | None = None

    def unknown_method(self, method: str, call: ServerCall) -> tuple[Status, str]:
        """Return the error for a call of an unknown method: UNAVAILABLE if the method may be added later."""
        absent = self.absent_text(method)
        if absent is not None:
            return Status.UNAVAILABLE, absent
        services = None
        if call.connection.reveals_services:
            self._index_new_methods()
            services = self._services
        text = call.groups.dialect.text_for_method(call, method, services)
        return Status.UNIMPLEMENTED, text or self._unknown_text(method, call.connection)

    def absent_text(self, method: str) -> str | None:
        """Return the error text for an unknown method that may be added later; None for other methods."""
        reason = None if self.why_absent is None else self.why_absent(method)
        return None if reason is None else f"no method {method!r} here yet: {reason}"

    def _unknown_text(self, method: str, connection: ServedConnection) -> str:
        """Return the error text for an unknown method; with reflection it suggests a near name, or lists names."""
        if not connection.reveals_services:
            return f"no method {method!r} here"
        near = self._names.nearest(method)
        if near is not None:
            return f"no method {method!r} here; did you mean {near!r}?"
        return f"no method {method!r} here; there are {self._first_names or 'none'}"

    def _index_new_methods(self) -> None:
        if self._indexed != self.gate.routes.changes:
            self.index_methods()

    def index_methods(self) -> None:
        """Build the index for suggestions in advance, because peers can call unknown methods at any rate."""
        routes = [
            route
            for route in self.gate.routes
            if not (route.is_withdrawn or route.method.startswith(BUILTIN_PREFIX))
        ]
        names = sorted(route.method for route in routes)
        names_and_aliases = [*names, *(name for route in routes for name in route.definition.aliases)]
        self._services = {name.rpartition(".")[0] for name in names_and_aliases}
        # Only Go callers call bare functions, and they get no suggestions.
        names = [name for name in names if not name.startswith(".")]
        self._names = NameIndex([name for name in names_and_aliases if not name.startswith(".")])
        self._first_names = ", ".join(names[:SHOWN_NAMES])
        self._indexed = self.gate.routes.changes

    def wrong_shape(self, route: MethodRoute) -> str:
        """Return the error text for a REQUEST whose flags fit another kind of method."""
        return f"{route.method} {_SHAPES[route.kind]}"

    def unknown_codec(self, call: ServerCall) -> str:
        """Return the error text for a refused codec, which usually lists the accepted ones."""
        text = call.groups.dialect.text_for_codec(call)
        if text is not None:
            return text
        taken = ", ".join(self._config.codecs)
        return f"{call.method}: codec {codec_label(call.codec_id)} is not accepted here, only {taken}"

    def unknown_compressor(self, call: ServerCall, wire_id: int) -> str:
        """Return the error text for an unknown compressor, which usually lists the accepted ones."""
        return unknown_compressor(call, wire_id, self.gate.compressors)

    def marshal_of(self, route: MethodRoute, codec: int) -> Marshal:
        """Return the marshal for a codec other than the method's own.

        Raises:
            CallError: the codec cannot carry this method's types.
        """
        by_value = codec in VALUE_CODECS
        try:
            name = VALUE_CODECS[codec] if by_value else codec_with_id(codec).name
            limits, memory = self._config.limits, self._config.memory
            marshal = marshal_for(
                route.definition, name, depth=limits.depth, items=memory.items, by_value=by_value
            )
        except FastRPCError as error:
            raise CallError(Status.UNIMPLEMENTED, error.message, processed="no") from None
        if name == "json" and route.definition.has_array_result:
            text = f"{route.definition.full_name}: the result is a numpy array, which json cannot carry"
            raise CallError(Status.INVALID_ARGUMENT, text, processed="no", hint="call it with codec msgpack")
        return marshal

    def message_marshal_of(self, route: MethodRoute, as_json: bool) -> Marshal:
        """Return the marshal for a method's payloads as protobuf messages, as in gRPC, or as their JSON.

        Raises:
            CallError: protobuf cannot carry this method's types.
        """
        from fastrpc.rpc.protobuf.marshals import message_marshal

        limits, memory = self._config.limits, self._config.memory
        try:
            return message_marshal(route.definition, depth=limits.depth, items=memory.items, as_json=as_json)
        except ConfigError as error:
            raise CallError(Status.UNIMPLEMENTED, str(error), processed="no") from None

    # Interceptors

    def intercepted(self, call: ServerCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that runs the interceptors around the handler."""
        return self._proceed(call)

    def _note_failure(self, call: ServerCall, error: BaseException) -> None:
        call._note_outcome(self._failures.status_of(call, error), error)

    async def _handle(self, call: ServerCall) -> Any:
        """Run the handler inside the interceptors: as a coroutine, in a thread, or directly."""
        route = call.route
        if call.given is None:
            # The call was answered meanwhile, and its arguments were dropped.
            raise RuntimeError(f"{call.method} ended before an interceptor proceeded")
        call.never_started = False
        if call.messages is not None:
            if route.kind == "client_stream":
                return await invoke(route.handler, call.messages.bound())
            return await (self.drive_in_thread(call) if route.definition.style == "thread" else drive(call))
        if route.definition.style == "async":
            return await invoke(route.handler, call.given)
        if route.definition.style == "inline":
            return invoke(route.handler, call.given)
        return await AwaitedJob(call, route.handler, self._workers).result()

    # Connections

    def connection_lost(self, connection: ServedConnection, error: BaseException | None) -> None:
        """Record the loss of a connection."""
        peer = connection.describe_peer()
        if isinstance(error, HandshakeError) and peer is not None:
            self.refused_tls(peer, error)
        elif peer is not None:
            self._life.connection_lost(peer.address, error)
            peer._lose()
        if self.on_lost is not None:
            self.on_lost()
        self.changed()

    def refused_tls(self, peer: Peer, error: HandshakeError) -> None:
        """Record a connection whose TLS handshake failed."""
        count_refusal("handshake")
        # The scheme is given here, because the transport that knows it no longer exists.
        self._life.refused_tls(Address("tls", host=peer.address.host, port=peer.address.port), error)

    def stranger(self, peer: Peer, reason: str, first: bytes = b"") -> None:
        """Record a connection whose first bytes match no protocol of this server."""
        count_refusal("stranger")
        self._misplaced.note(peer.address, first)
        self._life.stranger(peer.address, reason)

    def greet(self, peer: Peer, first: bytes) -> None:
        """Warn of a connection if its first bytes belong to a protocol that this server does not speak."""
        self._misplaced.note(peer.address, first)

    def describe_peer(self, connection: PeerConnection) -> Peer:
        """Return the peer of a connection."""
        transport = connection.transport
        ssl_object = None if transport is None else transport.get_extra_info("ssl_object")
        certificate = None if ssl_object is None else certificate_of(ssl_object)
        address, user = self._address_of(connection), None
        if address.scheme == "unix" and transport is not None:
            # Imported on first use: most servers listen at no such address.
            from fastrpc.transports.unix import user_of

            # The user is read now, because the system reports it only while the connection is open.
            user = user_of(transport)
        peer = Peer(address, certificate=certificate, user=user)
        served = getattr(connection, "connection", None)
        if served is not None:
            peer.protocol = served.protocol
        # A connection has this property only after its protocol is known.
        takes = getattr(connection, "peer_takes", None)
        if takes is not None:
            peer._serve(connection, self._calling, is_pushed=takes == "pushes")
        return peer

    def listens(self, address: Address) -> None:
        """From now on report the number of a transport's connections, even if it is 0."""
        self._schemes.add(address.scheme)

    def gauges(self) -> Iterator[Gauge]:
        """Yield the connections of the server by transport and protocol, 0 for addresses without any."""
        connections: Counter[tuple[str, str]] = Counter()
        protocols = [*self._config.protocols]
        if "http" in protocols and self._config.http.websocket:
            protocols.append("websocket")
        for scheme in list(self._schemes):
            for protocol in protocols:
                connections[scheme, protocol] = 0
        for engine in list(self.gate.engines):
            # `describe_peer` is not called, because it would cache the incomplete data of a peer whose connection is
            # still opening.
            peer = engine.connection.peer_info
            address = self._address_of(engine) if peer is None else peer.address
            connections[address.scheme, engine.connection.protocol] += 1
        for labels, count in connections.items():
            yield "fastrpc_server_connections", labels, count

    def peer_name(self, connection: ServedConnection) -> bytes:
        """Return the key under which limits count the calls of a connection's peer."""
        return limit_name_of(connection.describe_peer())

    def changed(self) -> None:
        """Make `wait_idle` and `wait_closed` check their conditions again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_idle(self, reaches_all: Callable[[], bool] = lambda: True) -> None:
        """Wait until no call is in flight and every connection has drained.

        Args:
            reaches_all: starts the drain of new connections, and returns whether no further connections can be opened.
        """
        await self.wait_until(lambda: reaches_all() and self.has_drained())

    def has_drained(self) -> bool:
        """Return whether no call is in flight and every connection has drained."""
        return self._is_idle() and all(engine.has_drained for engine in self.gate.engines)

    def is_at_rest(self) -> bool:
        """Return whether no call runs, and each connection has drained or only waits for a possible last request."""
        return self._is_idle() and all(
            engine.has_drained or (isinstance(engine, LastRequest) and engine.is_at_rest)
            for engine in self.gate.engines
        )

    async def wait_closed(self) -> None:
        """Wait until every connection is closed."""
        await self.wait_until(lambda: not self.gate.engines)

    def _is_idle(self) -> bool:
        access = self.gate.guards.access
        return (
            self.gate.running == 0
            and self.gate.admission.waiting == 0
            and self._unpacking.is_idle
            and (access is None or access.authentication.is_idle)
        )

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that may become true when a call or a connection ends."""
        loop = asyncio.get_running_loop()
        self._watching += 1
        self.gate.runner.is_watched = True
        try:
            while not condition():
                waiter = loop.create_future()
                self._waiters.add(waiter)
                # No event reports that a connection has announced its end or sent its last bytes.
                look = loop.call_later(_LOOK_SECONDS, self.changed)
                try:
                    await waiter
                finally:
                    look.cancel()
                    self._waiters.discard(waiter)
        finally:
            self._watching -= 1
            self.gate.runner.is_watched = self._watching > 0

    # Compression

    def unpack(self, call: ServerCall, compressor: Compressor, payload: bytes) -> None:
        """Decompress a request; the gate gets the result through `unpacked`."""
        self._unpacking.unpack(call, compressor, payload)

    def stop_unpacking(self, call: ServerCall) -> None:
        """Stop the decompression of the request of a call that was given up."""
        self._unpacking.stop(call)

    def unpack_message(self, stream: ServedStream, call: ServerCall, payload: bytes, compressor: int) -> None:
        """Decompress a message of a stream, which gets the result through `unpacked`."""
        self._unpacking.unpack_message(stream, call, compressor, payload)

    def close_rooms(self, rooms: list[Room]) -> None:
        """Release the memory rooms of messages that a handler has finished with."""
        self._unpacking.close_rooms(rooms)

    def pack(self, call: ServerCall, compressor: Compressor, payload: bytes) -> None:
        """Compress an answer in slices; the runner gets the result through `packed`."""
        done = partial(self._packed, call)
        self._packings[call] = self.packing(call.connection, compressor, payload, done)

    def _packed(
        self, call: ServerCall, payload: bytes, is_smaller: bool, error: BaseException | None
    ) -> None:
        self._packings.pop(call, None)
        self.gate.runner.packed(call, payload, is_smaller, error)

    def packing(
        self, connection: ServedConnection, compressor: Compressor, payload: bytes, done: PackingDone
    ) -> Packing:
        """Compress the output of a connection in slices."""
        return CountedPacking(connection, compressor, payload, done)

    # Threads

    def run_in_thread(self, call: ServerCall, handler: Callable[..., Any]) -> int:
        """Queue a `def` handler; the runner gets its outcome through `thread_finished`."""
        job = ThreadJob(call, handler, self.gate.runner.thread_finished)
        self._workers.submit(job, priority=call.priority)
        return 0

    def drive_in_thread(self, call: ServerCall) -> Coroutine[Any, Any, None]:
        """Return the coroutine that sends the messages of a `def` generator in a thread."""
        return drive(call) if call.wants_head else GeneratorJob(call, self._workers).drive()

    def in_thread(self, call: ServerCall, function: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that runs a function of a handler in a thread."""
        return AwaitedJob(call, lambda *given, **named: function(), self._workers).result()

    def stop(self, call: ServerCall) -> None:
        """Cancel a call that waits for a thread or runs in one, or whose answer is being compressed."""
        job = call._thread_job
        packing = self._packings.pop(call, None)
        if job is not None:
            job.is_cancelled = True
        elif packing is not None:
            packing.stop()
            # The call ends in the next loop iteration, like a cancelled handler.
            self.gate.loop_state.loop.call_soon(self._packed, call, b"", False, asyncio.CancelledError())

    # Errors

    def failure_of(self, call: ServerCall, error: BaseException) -> Failure:
        """Return the failure that the caller gets for an error, and log the details that it does not get."""
        return self._failures.tell(call, error)


def accepted_address(connection: PeerConnection) -> Address:
    """Return the peer's address of an accepted connection, as the transport reports it."""
    name = connection.peer_name
    transport = connection.transport
    if isinstance(name, tuple):
        is_encrypted = transport is not None and transport.get_extra_info("ssl_object") is not None
        # If another program terminated TLS, the transport between them knows the scheme.
        told = None if transport is None else transport.get_extra_info("scheme")
        return Address(told or ("tls" if is_encrypted else "tcp"), host=name[0], port=name[1])
    opened = None if transport is None else transport.get_extra_info("socket")
    if opened is None:
        return Address("memory", path=str(name or ""))
    if opened.family != getattr(socket, "AF_UNIX", None):
        # The connection was reset before its address was read, and is closing.
        return Address("tcp", host="", port=0)
    return Address("unix", path=str(name or ""))

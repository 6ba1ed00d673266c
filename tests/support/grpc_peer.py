"""A client of gRPC by python `h2`, which sends the bytes of a test: also bytes that no honest client sends.

async with grpc_peer(address) as peer:          # over a socket
    answer = await peer.call("/shop.v1.Orders/Get", b"…")
async with served_grpc(Raw()) as link:          # to an engine without a socket
    stream = link.request(…)
    await link.talk()
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from fastrpc import Address, Server, ServerConfig
from fastrpc.auth import Identity
from fastrpc_harness.checking import check
from tests.support.grpc_bytes import message
from tests.support.peer_writing import write_to
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually

__all__ = ["Answer", "GrpcClient", "GrpcPeer", "ServedGrpc", "grpc_peer", "message", "served_grpc"]

Fields = Iterable[tuple[str, str]]

READ_BYTES = 65_536


@dataclass
class Answer:
    """The outcome of one stream."""

    head: dict[str, str] = field(default_factory=dict)
    #: The same with the fields that come more than once.
    fields: list[tuple[str, str]] = field(default_factory=list)
    #: The statuses of interim answers.
    interim: list[int] = field(default_factory=list)
    data: bytes = b""
    trailers: dict[str, str] | None = None
    is_ended: bool = False
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        return self.is_ended or self.reset is not None

    @property
    def end(self) -> dict[str, str]:
        """The fields with the status: the trailers, or the head where it is all of the answer."""
        return self.head if self.trailers is None else self.trailers

    @property
    def status(self) -> int | None:
        return int(self.end["grpc-status"]) if "grpc-status" in self.end else None

    @property
    def text(self) -> str:
        return self.end.get("grpc-message", "")

    @property
    def messages(self) -> list[bytes]:
        """The messages without their prefixes."""
        found, rest = [], self.data
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class GrpcClient:
    """The client's side of a connection, without a stream below.

    Args:
        takes: whether windows are given back as bytes come.
    """

    def __init__(self, *, takes: bool = True) -> None:
        config = H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = H2Connection(config=config)
        # A server that drains continues open streams; `h2` takes a GOAWAY for the end.
        machine = self.h2.state_machine
        stays = {
            (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.CLIENT_OPEN)
        }
        machine._transitions = {**machine._transitions, **stays}
        self.takes = takes
        #: Streams whose windows are not given back; the connection's is.
        self.withheld: set[int] = set()
        self.answers: dict[int, Answer] = {}
        self.events: list[Event] = []
        #: Each GOAWAY: its last stream, code and text.
        self.goaways: list[tuple[int, int, bytes]] = []

    def flush(self) -> None:
        """Send the waiting bytes of `h2`."""

    def hear(self, data: bytes) -> None:
        """Take bytes of the server."""
        for event in self.h2.receive_data(data):
            self._take(event)

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ConnectionTerminated):
            self.goaways.append(
                (event.last_stream_id or 0, int(event.error_code or 0), event.additional_data or b"")
            )
            return
        stream: Any = getattr(event, "stream_id", None)
        answer = self.answers.get(stream)
        if answer is None:
            return
        if isinstance(event, ResponseReceived):
            answer.fields = list(event.headers)  # type: ignore[arg-type]
            answer.head = dict(answer.fields)
        elif isinstance(event, InformationalResponseReceived):
            fields: Any = dict(event.headers)
            answer.interim.append(int(fields[":status"]))
        elif isinstance(event, TrailersReceived):
            answer.trailers = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, DataReceived):
            answer.data += event.data
            if stream in self.withheld:
                self.h2.increment_flow_control_window(event.flow_controlled_length)
            elif self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, StreamEnded):
            answer.is_ended = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code)

    def open(
        self,
        path: str,
        fields: Fields = (),
        *,
        ends: bool = False,
        method: str = "POST",
        kind: str | None = "application/grpc",
        authority: str = "localhost",
    ) -> int:
        """Send the head of a request, and return its stream."""
        head = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
        ]
        if kind is not None:
            head.append(("content-type", kind))
        return self.begin([*head, *fields], ends=ends)

    def begin(self, head: list[tuple[str, str]], *, ends: bool = False) -> int:
        """Send fields as they are as the head of a request, and return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, head, end_stream=ends)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, ends: bool = False) -> None:
        """Send DATA of a stream, in frames as large as the server takes, as far as its windows go."""
        size = self.h2.max_outbound_frame_size
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        for part in parts[:-1]:
            self.h2.send_data(stream, part)
        self.h2.send_data(stream, parts[-1], end_stream=ends)
        self.flush()

    def request(self, path: str, payload: bytes, fields: Fields = (), **options: Any) -> int:
        """Send a whole request of one message, and return its stream."""
        stream = self.open(path, fields, **options)
        self.send(stream, message(payload), ends=True)
        return stream

    def reset(self, stream: int, code: int = ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()


class GrpcPeer(GrpcClient):
    """One connection to a server, over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, takes: bool) -> None:
        super().__init__(takes=takes)
        self.is_closed = False
        self._reader = reader
        self._writer = writer
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                self.hear(data)
                self.flush()
        except OSError:
            pass
        finally:
            self.is_closed = True

    def flush(self) -> None:
        if not self._writer.is_closing():
            write_to(self._writer, self.h2.data_to_send())

    async def send_all(self, stream: int, data: bytes, *, ends: bool = False) -> None:
        """Send DATA of a stream as its windows allow, unless the server resets it before."""
        answer = self.answers[stream]
        while data:
            await eventually(
                lambda: answer.reset is not None or self.h2.local_flow_control_window(stream) > 0
            )
            if answer.reset is not None:
                return
            size = min(self.h2.local_flow_control_window(stream), len(data))
            self.send(stream, data[:size], ends=ends and size == len(data))
            data = data[size:]

    async def end(self, stream: int) -> Answer:
        """Wait for the end of a stream, and return its outcome."""
        await eventually(lambda: self.answers[stream].is_over or self.is_closed)
        return self.answers[stream]

    async def call(self, path: str, payload: bytes, fields: Fields = (), **options: Any) -> Answer:
        """Call a method with one message."""
        return await self.end(self.request(path, payload, fields, **options))

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes in place of frames."""
        write_to(self._writer, data)

    def pause(self) -> None:
        """Read nothing until `resume`."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.close()


class ServedGrpc(GrpcClient):
    """One connection of a server, over a transport that leads nowhere, and its client."""

    def __init__(self, server: Server, *, takes: bool = True) -> None:
        super().__init__(takes=takes)
        assert server._gate is not None
        self.server = server
        self.gate = server._gate
        self.transport = StillTransport()
        self.session: Any = server._accepting.session_maker(Address.parse("tcp://127.0.0.1:1"))()
        self.session.connection_made(self.transport)
        self.engine: Any = self.session.engine
        self._read = 0

    async def give(self, data: bytes) -> None:
        """Receive bytes in callbacks of the loop, as transports do it."""
        loop = asyncio.get_running_loop()
        while data and not self.is_over:
            done = loop.create_future()
            loop.call_soon(lambda part, done: done.set_result(self._receive(part)), data[:READ_BYTES], done)
            data = data[await done :]

    def _receive(self, data: bytes) -> int:
        if self.transport.is_paused:
            return 0
        with memoryview(self.session.get_buffer(len(data))) as place:
            size = min(len(place), len(data))
            place[:size] = data[:size]
        self.session.buffer_updated(size)
        return size

    async def talk(self) -> None:
        """Carry each side's bytes to the other, until both are silent."""
        while True:
            sent = self.h2.data_to_send()
            await self.give(sent)
            for _ in range(5):
                await asyncio.sleep(0)
            heard, self._read = self.transport.written[self._read :], len(self.transport.written)
            if not sent and not heard:
                return
            self.hear(heard)

    async def pour(self, stream: int, data: bytes) -> None:
        """Send DATA of a stream as its windows allow, and its end."""
        async with asyncio.timeout(20):
            while data:
                size = min(self.h2.local_flow_control_window(stream), len(data))
                if size:
                    self.send(stream, data[:size])
                    data = data[size:]
                await self.talk()
        self.send(stream, b"", ends=True)

    async def end(self, stream: int) -> Answer:
        """Wait for the end of a stream, and return what came of it."""

        async def look() -> None:
            while not self.answers[stream].is_over and not self.is_over:
                await self.talk()

        async with asyncio.timeout(20):
            await look()
        return self.answers[stream]

    async def call(self, path: str, payload: bytes, fields: Fields = (), **options: Any) -> Answer:
        """Call a method with one message."""
        return await self.end(self.request(path, payload, fields, **options))

    def look(self, seconds: float) -> None:
        """Let so much time have passed since now."""
        check(self.engine, time.monotonic_ns() + int(seconds * 1_000_000_000))

    def prove(self, seconds: float | None = None) -> None:
        """Let the peer have proved by its certificate who it is, for so long."""
        generation = (
            self.gate.guards.access.authentication.generation if self.gate.guards.access is not None else 0
        )
        self.engine.identify(Identity("ada"), seconds, by_certificate=True, generation=generation)

    @property
    def is_over(self) -> bool:
        return self.engine.is_closed or self.transport.is_closing()

    def lose(self) -> None:
        """End the stream below, unless that was done."""
        if self.session.transport is not None:
            self.session.connection_lost(None)


@asynccontextmanager
async def served_grpc(
    *sources: Any,
    authenticate: Any = None,
    takes: bool = True,
    server_options: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[ServedGrpc]:
    """Serve one connection, whose opening is over; it is gone before the server closes."""
    config = ServerConfig(protocols=("grpc",), **settings)
    server = Server(*sources, config=config, authenticate=authenticate, **(server_options or {}))
    await server.start()
    link = ServedGrpc(server, takes=takes)
    try:
        link.h2.initiate_connection()
        await link.talk()
        yield link
    finally:
        link.lose()
        await server.close()


@asynccontextmanager
async def grpc_peer(
    address: Address | str,
    *,
    tls: ssl.SSLContext | None = None,
    takes: bool = True,
    settings: dict[Any, int] | None = None,
) -> AsyncIterator[GrpcPeer]:
    """Connect to a server, and yield the connection once its settings came."""
    address = Address.parse(address)
    if address.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=tls, server_hostname="localhost" if tls else None
        )
    peer = GrpcPeer(reader, writer, takes=takes)
    peer.h2.initiate_connection()
    if settings is not None:
        peer.h2.update_settings(settings)
    peer.flush()
    try:
        await eventually(lambda: peer.events or peer.is_closed)
        yield peer
    finally:
        await peer.close()

"""A server made of the reference and a socket, which a test steps by hand while a client waits in another thread."""

import itertools
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from fastrpc import SyncClient
from tests.support.wire_frames import Response
from tests.support.wire_link import Event
from tests.support.wire_peer import ReferencePeer

__all__ = ["ReferenceConnection", "ReferenceServer", "opened", "reference_server"]

T = TypeVar("T")

#: Longer than any step of a test takes on a busy machine.
PATIENCE_SECONDS = 20.0


class ReferenceConnection:
    """One connection of a client, seen from the server."""

    def __init__(self, stream: socket.socket, settings: dict[int, Any]) -> None:
        self.stream = stream
        self.peer = ReferencePeer(is_server=True, settings=settings)
        self.received = b""
        #: Whether the client has closed it.
        self.is_over = False
        self._events: list[Event] = []
        self._raw = bytearray()
        stream.settimeout(PATIENCE_SECONDS)

    def take(self, name: str) -> Event | None:
        """Return the first event of a name that was read, and drop only this event; None if none was read."""
        for event in self._events:
            if event[0] == name:
                self._events.remove(event)
                return event
        return None

    def next(self, name: str) -> Event:
        """Return the next event of a name, reading as long as it takes; those before it are dropped."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if event[0] == name:
                    return event
            self.read()

    def read(self) -> None:
        """Read the client's bytes, and send the automatic answers of the reference."""
        try:
            data = self.stream.recv(1 << 20)
        except ConnectionResetError:
            # It closed before it had read everything.
            data = b""
        if not data:
            self.is_over = True
            raise EOFError("the client closed the connection")
        self.received += data
        self._events += self.peer.receive(data)
        self.send()

    def read_raw(self, condition: Callable[[], bool]) -> None:
        """Read until the condition holds, and answer nothing before `take_read`."""
        while not condition() or select.select([self.stream], [], [], 0)[0]:
            if select.select([self.stream], [], [], 0.01)[0]:
                self._raw += self.stream.recv(1 << 20)

    @property
    def unread(self) -> bytes:
        """The bytes that `read_raw` has read since the last `take_read`."""
        return bytes(self._raw)

    def take_read(self) -> None:
        """Take the bytes of `read_raw`, and drop their events."""
        self.peer.receive(bytes(self._raw))
        self.received += self._raw
        self._raw.clear()
        self.send()

    def read_to_the_end(self) -> list[Event]:
        """Read until the client closes and return all events since the last `next`."""
        try:
            while True:
                self.read()
        except EOFError:
            return self._events

    def send(self) -> None:
        """Write the bytes of the reference."""
        output = self.peer.take_output()
        if output:
            # The client may have closed, which shows when its earlier bytes are read.
            with suppress(BrokenPipeError):
                self.stream.sendall(output)

    def respond(self, call_id: int, payload: bytes = b"\xc0", **fields: Any) -> None:
        """Answer a call; the payload is nil in msgpack unless given."""
        self.peer.callee.respond(Response(call_id, payload=payload, codec=fields.pop("codec", 1), **fields))
        self.send()

    def close(self) -> None:
        """Close without a word."""
        self.stream.close()


class ReferenceServer:
    """Listens on a unix socket and runs the test's client calls on threads."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_SECONDS)
        self._threads = ThreadPoolExecutor(8)
        self._connections: list[ReferenceConnection] = []

    def accept(self, settings: dict[int, Any] | None = None) -> ReferenceConnection:
        """Return the next connection of a client; `settings` differ from the usual ones."""
        connection = ReferenceConnection(self._listener.accept()[0], settings or {})
        self._connections.append(connection)
        return connection

    def next_request(self) -> tuple[ReferenceConnection, Event]:
        """Return the next request and its connection: one of those there are, or one that the client opens for it."""
        while True:
            open_ones = {one.stream: one for one in self._connections if not one.is_over}
            ready, _, _ = select.select([self._listener, *open_ones], [], [], PATIENCE_SECONDS)
            if not ready:
                raise TimeoutError("no request came")
            for stream in ready:
                if stream is self._listener:
                    self.accept()
                    continue
                connection = open_ones[stream]
                with suppress(EOFError):
                    connection.read()
                request = connection.take("request")
                if request is not None:
                    return connection, request

    def start(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a blocking function on a separate thread."""
        return self._threads.submit(function, *args)

    def close(self) -> None:
        """Close every connection, which ends all waits."""
        for closing in itertools.chain(self._connections, [self._listener]):
            closing.close()
        self._threads.shutdown()


def opened(server: ReferenceServer, client: SyncClient) -> ReferenceConnection:
    """Let the client connect and make one call."""
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection = server.accept()
    connection.respond(connection.next("request")[1], msgspec.msgpack.encode(42))
    assert answer.result() == 42
    return connection


@contextmanager
def reference_server() -> Iterator[ReferenceServer]:
    """Yield a server that does nothing by itself."""
    with TemporaryDirectory(prefix="fastrpc") as folder:
        server = ReferenceServer(Path(folder) / "socket")
        try:
            yield server
        finally:
            server.close()

"""Connections whose far end is a recording: the cost of one side without the other.

A real client and a real server talk once over `RecordedTransport`, which keeps every write. Afterwards a new client
gets the server's writes, and a new server the client's, in the same order and without the other side.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from fastrpc.endpoint import Address

__all__ = ["Line", "RecordedTransport", "Tape"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)


class Tape:
    """The bytes of a connection: the client's writes, and the server's output after each of them."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        #: The first entry is the server's output before the client wrote anything.
        self.answers: list[list[bytes]] = [[]]

    def note_request(self, data: bytes) -> None:
        self.requests.append(data)
        self.answers.append([])

    def beginning(self, requests: int) -> "Tape":
        """Return the bytes up to a number of client writes, and the answers to them."""
        tape = Tape()
        tape.requests = self.requests[:requests]
        tape.answers = self.answers[: requests + 1]
        return tape

    def note_answer(self, data: bytes) -> None:
        self.answers[-1].append(data)


class Line(asyncio.Transport):
    """The near end of a connection: passes output to `on_write`, and the input of `feed` to its session."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_write: Callable[[bytes], None]) -> None:
        super().__init__({"peername": "guard"})
        self._loop = loop
        self._on_write = on_write
        self._session: Any = None
        self._is_closing = False
        #: The other end, if there is one: closed when this end is.
        self.far_end: Line | None = None

    def start(self, session_factory: Callable[[], S]) -> S:
        """Make the session and bind it."""
        session = session_factory()
        self._session = session
        session.connection_made(self)
        return session

    def feed(self, data: bytes) -> None:
        """Let the session receive."""
        rest = memoryview(data)
        while rest and self._session is not None:
            place = memoryview(self._session.get_buffer(65_536)).cast("B")
            size = min(len(rest), len(place))
            place[:size] = rest[:size]
            self._session.buffer_updated(size)
            rest = rest[size:]

    def pause_reading(self) -> None:
        """Fed bytes are received: nothing is fed until a session has taken over."""

    resume_reading = pause_reading

    def set_protocol(self, protocol: Any) -> None:
        """Let another session receive."""
        self._session = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._on_write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._on_write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever full."""

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._is_closing

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lose)
            if self.far_end is not None:
                self.far_end.close()

    def _lose(self) -> None:
        session, self._session = self._session, None
        session.connection_lost(None)


class _ListeningSocket:
    """Listener of the recorded transport."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def close(self) -> None:
        """There is nothing to close."""

    async def wait_closed(self) -> None:
        """Nothing is under way."""


class RecordedTransport:
    """`guard://`: listens once, and dials to the listener (and records) or to a recording."""

    scheme = "guard"

    def __init__(self, recording: Tape | None = None) -> None:
        self.tape = Tape() if recording is None else recording
        self._replays = recording is not None
        self._server_factory: Callable[[], asyncio.BufferedProtocol] | None = None
        self._lines: list[Line] = []
        self._step = 0

    async def listen(
        self, address: Address, session_factory: Callable[[], S], options: object
    ) -> _ListeningSocket:
        self._server_factory = session_factory
        return _ListeningSocket(address)

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: object
    ) -> tuple[asyncio.Transport, S]:
        loop = asyncio.get_running_loop()
        if self._replays:
            line = Line(loop, lambda data: cast(None, loop.call_soon(self._answer, line)))
            return line, line.start(session_factory)
        assert self._server_factory is not None
        client = Line(loop, lambda data: cast(None, loop.call_soon(carry_request, data)))
        server = Line(loop, lambda data: cast(None, loop.call_soon(carry_answer, data)))

        def carry_request(data: bytes) -> None:
            self.tape.note_request(data)
            server.feed(data)

        def carry_answer(data: bytes) -> None:
            self.tape.note_answer(data)
            client.feed(data)

        client.far_end, server.far_end = server, client
        server.start(self._server_factory)
        return client, client.start(session_factory)

    def open_server(self, on_write: Callable[[bytes], None]) -> Line:
        """Connect the listener without a peer; its input is the bytes fed to the line."""
        assert self._server_factory is not None
        line = Line(asyncio.get_running_loop(), on_write)
        line.start(self._server_factory)
        return line

    def _answer(self, line: Line) -> None:
        """Give the client the server's output after its due write; its goodbye is not answered.

        The server's first output follows the client's first write, as in the recording.
        """
        due = 0 if self._step == 0 else self._step + 1
        self._step += 1
        for answers in self.tape.answers[due : self._step + 1]:
            for data in answers:
                line.feed(data)

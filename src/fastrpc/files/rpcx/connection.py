"""The connection of one transfer. The client sends a token; then one side sends the bytes of a file.

::

    token (32 bytes) ──► ticket ──► begin: the method that gave it ──► handler ── receive, send ──────────┐
    close: the file is complete; reset: it is not ◄── write_answer, write_failure ◄───────────────────────┘

The transfer is a call of the method that gave the token, with the protocol "rpcx-files". So policies, limits, drain,
metrics and the access log apply to it, and its caller is the caller of that method. rpcx has no error message here: a
closed connection means a complete file, a reset connection means a failed transfer. So the socket is set to reset
(SO_LINGER) until the transfer is complete.
"""

import asyncio
import contextlib
import math
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

from fastrpc._core.calls.call import current_call
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.link import Link
from fastrpc._core.server.openings import Openings
from fastrpc._core.server.python_wire import PythonWire
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.config import Keepalive, Timeouts
from fastrpc.errors import CallError, RemoteProtocolError
from fastrpc.files.rpcx.tickets import TOKEN_BYTES, Ticket, Tickets
from fastrpc.protocols.base import StreamSession
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["PROTOCOL", "Accepted", "TransferStream", "TransferWire"]

#: The protocol name of transfers in metrics and logs.
PROTOCOL = "rpcx-files"

#: Most bytes that wait for the disk, or for the network.
HELD_BYTES = 512 * 1024

#: TOKEN_SECONDS: seconds within which a token has to arrive. After SILENCE_SECONDS without a byte a transfer fails.
TOKEN_SECONDS = 10.0
SILENCE_SECONDS = 20.0

#: Most open connections without a token. With more, the connection that has been silent for longest is closed.
MOST_SILENT = 64

#: The timeouts of a connection. There is no drain and no age, since the server ends transfers that outlast its drain.
#: There is no lingering close, since the peer takes the end of our output for the end of the file.
_TIMEOUTS: Final = Timeouts(handshake=TOKEN_SECONDS, idle=None, drain=None, linger=None)
#: Closes the connection of a peer that reads nothing, after the handler has answered or if the handler does not end.
#: Usually the handler ends first.
_KEEPALIVE: Final = Keepalive(interval=None, timeout=2 * SILENCE_SECONDS + 5)

#: Values of SO_LINGER, which decide what a close does. _RESETS: reset the connection. _ENDS: send the rest, then FIN.
_RESETS: Final = struct.pack("ii", 1, 0)
_ENDS: Final = struct.pack("ii", 0, 0)


class Accepted:
    """The open connections of one listener for transfers."""

    def __init__(self, tickets: Tickets) -> None:
        self.tickets = tickets
        self._gate: Gate | None = None
        self._openings: Openings | None = None
        self._open: dict[ServedConnection, TransferWire] = {}

    def stream(self, gate: Gate) -> "TransferStream":
        """Return the byte stream of a new connection."""
        if self._openings is None or gate is not self._gate:
            self._gate, self._openings = gate, Openings(gate, MOST_SILENT, "the bound for files")
        link = Link(
            TransferWire(self), gate=gate, openings=self._openings, timeouts=_TIMEOUTS, keepalive=_KEEPALIVE
        )
        return TransferStream(link, loop=asyncio.get_running_loop())

    def transfer_of(self, connection: ServedConnection) -> "TransferWire | None":
        """Return the transfer on a connection, or None for a connection of another listener."""
        return self._open.get(connection)

    def opened(self, wire: "TransferWire") -> None:
        """Add a new connection, which has not sent a token yet."""
        self._open[wire.connection] = wire

    def lost(self, wire: "TransferWire") -> None:
        """Remove a connection that has ended."""
        self._open.pop(wire.connection, None)

    def close(self) -> None:
        """End all transfers immediately."""
        for wire in list(self._open.values()):
            wire.reset()


class TransferWire(PythonWire):
    """The bytes of one transfer's connection."""

    def __init__(self, accepted: Accepted) -> None:
        # Stay open after the peer's last byte: the file has to be stored then.
        super().__init__(PROTOCOL, outlasts_input=True)
        self._accepted = accepted
        #: The ticket of the transfer, once the token has arrived.
        self.ticket: Ticket | None = None
        self._received: deque[bytes] = deque()
        self._received_bytes = 0
        self._has_ended = False
        self._is_given_up = False
        #: True once the transfer is complete: from then on a close means the end of the file.
        self.is_complete = False
        self._waiter: asyncio.Future[None] | None = None

    # For the handler

    async def receive(self) -> AsyncIterator[bytes]:
        """Yield received bytes until the end of the peer's stream.

        Raises:
            CallError: DEADLINE_EXCEEDED: the peer was silent for too long.
        """
        while True:
            while self._received:
                piece = self._received.popleft()
                self._received_bytes -= len(piece)
                self.count_moved(cast(ServerCall, current_call()), len(piece), 0)
                yield piece
            if self._has_ended:
                return
            self.hold_back(False)
            await self._wait("sent nothing", lambda: bool(self._received) or self._has_ended)

    async def send_piece(self, piece: bytes) -> None:
        """Send a piece; return once there is room for another one.

        Raises:
            CallError: DEADLINE_EXCEEDED: the peer read nothing for too long.
        """
        self.send(piece)
        self.count_moved(cast(ServerCall, current_call()), 0, len(piece))
        # Let the loop write, in its next iteration.
        await asyncio.sleep(0)
        while self.unsent_bytes() > HELD_BYTES:
            if self._is_write_paused():
                await self._wait("took nothing", lambda: not self._is_write_paused())
            else:
                await asyncio.sleep(0)

    def _is_write_paused(self) -> bool:
        return self.link is not None and self.link.stream is not None and self.link.stream.is_write_paused

    async def _wait(self, what: str, is_over: Callable[[], bool]) -> None:
        taken = self.taken_bytes()
        while not is_over():
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with time_limit(SILENCE_SECONDS):
                    await self._waiter
            except TimeoutError:
                before, taken = taken, self.taken_bytes()
                if taken > before:
                    # The peer reads slowly: the socket becomes writable only after a third of its buffer was sent.
                    continue
                text = f"the peer {what} for {SILENCE_SECONDS:g} s"
                raise CallError(Status.DEADLINE_EXCEEDED, text) from None
            finally:
                self._waiter = None

    def wake(self) -> None:
        """Wake the handler if it waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The wire

    def connection_made(self) -> None:
        self._accepted.opened(self)

    def receive_data(self, data: bytes) -> int:
        if self._is_given_up:
            return len(data)
        if self.ticket is None:
            if len(data) < TOKEN_BYTES:
                return 0
            self.ticket = self._accepted.tickets.take(data[:TOKEN_BYTES])
            if self.ticket is None:
                raise RemoteProtocolError("it has no token of a transfer")
            self.opened()
            self._take(data[TOKEN_BYTES:])
            self._begin(self.ticket)
        else:
            self._take(data)
        return len(data)

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes >= HELD_BYTES:
            self.hold_back(True)
        self.wake()

    def _begin(self, ticket: Ticket) -> None:
        """Call the method that gave the ticket."""
        self.act_for(ticket.caller)
        shown = self.connection.peer_info
        if shown is not None and ticket.peer is not None:
            # Copy the credential, so that it is verified again when a file of tokens changes.
            shown.scheme, shown.credentials = ticket.peer.scheme, ticket.peer.credentials
            shown.certificate = ticket.peer.certificate
        takes_msgpack = "msgpack" in self.gate.codecs.values()
        # The arguments are an empty map, as the ticket has the real ones.
        codec, payload = ("msgpack", b"\x91\x80") if takes_msgpack else ("json", b"[{}]")
        self.begin(method=ticket.method, payload=payload, codec=codec, timeout=math.inf)

    def ended(self) -> None:
        """Handle the end of the peer's output."""
        self._has_ended = True
        if self.ticket is None:
            self.reset()
        self.wake()

    def connection_lost(self) -> None:
        self._accepted.lost(self)
        self.wake()

    def write_answer(self, call: ServerCall, payload: bytes) -> None:
        if self.link is not None:
            self.is_complete = True
            _set_end(self.link.transport, _ENDS)
            self.link.close()

    def write_failure(self, call: ServerCall, failure: Failure) -> None:
        self.reset()

    def reset(self) -> None:
        """Reset the connection, so that the peer sees an error instead of the end of the file."""
        self._is_given_up = True
        if self.link is not None:
            self.link.abort()


class TransferStream(StreamSession):
    """The byte stream of a transfer. It stays open after the peer's last byte, while the file is stored."""

    __slots__ = ()

    engine: Link

    @property
    def wire(self) -> TransferWire:
        return cast(TransferWire, self.engine.wire)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _set_end(transport, _RESETS)
        super().connection_made(transport)

    def eof_received(self) -> bool:
        if self.is_put_off:
            # Handle the input that arrived before.
            asyncio.get_running_loop().call_soon(self.eof_received)
        else:
            self.wire.ended()
        return True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.wire.wake()

    def end_written(self) -> None:
        # Do not wait until the peer has read an incomplete file.
        if self.wire.is_complete:
            super().end_written()
        else:
            self.end_at_once()

    def end_at_once(self) -> None:
        # Reset even a complete transfer, since its last bytes may be lost.
        _set_end(self.transport, _RESETS)
        super().end_at_once()


def _set_end(transport: asyncio.BaseTransport | None, linger: bytes) -> None:
    """Set SO_LINGER, which decides how the system closes a connection."""
    connected = None if transport is None else transport.get_extra_info("socket")
    if connected is not None:
        # The socket may be closed already.
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

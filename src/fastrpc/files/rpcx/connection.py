"""The connection of one transfer: a token, then the bytes of a file, and nothing else.

::

    32 bytes ──► its ticket ──► Gate.begin: the method that gave it ──► handler ── receive, send ──┐
    close: all of it is there; reset: it is not ◄── answer, fail ◄─────────────────────────────────┘

The transfer is a call of the method that gave the token, by the protocol "rpcx-files". So policies, limits, drain,
metrics and the access log hold for it, and its caller is the caller of that method. rpcx has no error message here: a
closed connection means a complete file, a reset one a failed transfer.
"""

import asyncio
import contextlib
import math
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from fastrpc._core.calls.call import current_call
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_engine import ServedEngine
from fastrpc.errors import CallError
from fastrpc.files.rpcx.tickets import TOKEN_BYTES, Ticket, Tickets
from fastrpc.protocols.base import StreamSession
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["PROTOCOL", "Accepted", "TransferConnection", "TransferStream"]

#: The name under which transfers are counted.
PROTOCOL = "rpcx-files"

#: Bytes that may wait for the disk, or for the network.
HELD_BYTES = 512 * 1024

#: Seconds in which a token has to come, and without a byte after which a transfer is given up.
TOKEN_SECONDS = 10.0
SILENCE_SECONDS = 20.0

#: Seconds for which a drain waits for the token of a connection.
FIRST_BYTES_SECONDS = 0.25

#: Connections that may be open without a token; beyond it the oldest one is closed.
MOST_SILENT = 64

#: On close the system sends a reset.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class _Parts:
    gate: Gate
    reveals_services: bool = False


class Accepted:
    """The connections of one listener of transfers."""

    def __init__(self, tickets: Tickets) -> None:
        self.tickets = tickets
        self._silent: dict[TransferConnection, asyncio.TimerHandle] = {}
        self._open: set[TransferConnection] = set()

    def stream(self, gate: Gate) -> "TransferStream":
        """Return the byte stream of a new connection."""
        return TransferStream(TransferConnection(gate, self), loop=asyncio.get_running_loop())

    def opened(self, connection: "TransferConnection") -> None:
        """A connection came, without a token so far."""
        self._open.add(connection)
        while len(self._silent) >= MOST_SILENT:
            next(iter(self._silent)).reset()
        later = asyncio.get_running_loop().call_later
        self._silent[connection] = later(TOKEN_SECONDS, connection.reset)

    def heard(self, connection: "TransferConnection") -> None:
        """Its token came, or it is given up."""
        timer = self._silent.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def lost(self, connection: "TransferConnection") -> None:
        """The connection has ended."""
        self.heard(connection)
        self._open.discard(connection)

    def close(self) -> None:
        """End all of them at once."""
        for connection in list(self._open):
            connection.reset()


class TransferConnection(ServedEngine):
    """The engine of one transfer's connection."""

    def __init__(self, gate: Gate, accepted: Accepted) -> None:
        super().__init__(_Parts(gate), PROTOCOL, has_rules=False)
        # The last byte of a file does not end the transfer: the file is stored then.
        self.outlasts_input = True
        self._accepted = accepted
        #: The transfer to make, once its token came.
        self.ticket: Ticket | None = None
        self._received: deque[bytes] = deque()
        self._received_bytes = 0
        self._has_ended = False
        self._is_given_up = False
        self._is_whole = False
        self._accepted_at = asyncio.get_running_loop().time()
        self._drains: tuple[int, str] | None = None
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
            CallError: DEADLINE_EXCEEDED: the peer took nothing for too long.
        """
        self.send(piece)
        self.count_moved(cast(ServerCall, current_call()), 0, len(piece))
        # Its write is tried in the next turn of the loop.
        await asyncio.sleep(0)
        while self.unsent_bytes() > HELD_BYTES and self.stream is not None:
            if self.stream.is_write_paused:
                await self._wait("took nothing", lambda: not self.stream or not self.stream.is_write_paused)
            else:
                await asyncio.sleep(0)

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
                    # A slow peer: the system asks for more only when a third of what it holds is gone.
                    continue
                text = f"the peer {what} for {SILENCE_SECONDS:g} s"
                raise CallError(Status.DEADLINE_EXCEEDED, text) from None
            finally:
                self._waiter = None

    def wake(self) -> None:
        """Something changed that the handler may wait for."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The engine

    def connection_made(self) -> None:
        self._accepted.opened(self)

    def receive_data(self, data: bytes) -> int:
        if self._is_given_up:
            return len(data)
        if self.ticket is None:
            if len(data) < TOKEN_BYTES:
                return 0
            self._accepted.heard(self)
            self.ticket = self._accepted.tickets.take(data[:TOKEN_BYTES])
            if self.ticket is None:
                dispatcher = self.gate.dispatcher
                dispatcher.stranger(dispatcher.describe_peer(self), "it has no token of a transfer")
                self.reset()
                return len(data)
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
        """Go on with the method that gave the ticket."""
        self.act_for(ticket.caller)
        shown = self.connection.peer_info
        if shown is not None and ticket.peer is not None:
            # Verified again when a file of tokens changes.
            shown.scheme, shown.credentials = ticket.peer.scheme, ticket.peer.credentials
            shown.certificate = ticket.peer.certificate
        takes_msgpack = "msgpack" in self.gate.codecs.values()
        # An empty map of arguments: the ticket has them.
        codec, payload = ("msgpack", b"\x91\x80") if takes_msgpack else ("json", b"[{}]")
        self.gate.begin(self.connection, method=ticket.method, payload=payload, codec=codec, timeout=math.inf)
        if self._drains is not None:
            super().begin_drain(*self._drains)

    def ended(self) -> None:
        """The peer sends no more."""
        self._has_ended = True
        if self.ticket is None:
            self.reset()
        self.wake()

    def connection_lost(self, error: BaseException | None) -> None:
        self._accepted.lost(self)
        self.wake()

    # The interface for the gate

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self._is_whole = True
        self.close()

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.reset()

    # A drain

    def begin_drain(self, reason: int, text: str = "") -> None:
        if self.ticket is None:
            # Its transfer was allowed before: it is the last one here anyway.
            self._drains = (reason, text)
        else:
            super().begin_drain(reason, text)

    @property
    def has_drained(self) -> bool:
        if self.ticket is None and not self._is_given_up:
            now = asyncio.get_running_loop().time()
            return now >= self._accepted_at + FIRST_BYTES_SECONDS
        return super().has_drained

    # The end

    def close(self, reason: int = 0, text: str = "") -> None:
        if self._is_whole:
            super().close(reason, text)
        else:
            self.reset()

    def reset(self) -> None:
        """Close at once, so that the peer sees an error and not the end of a file."""
        self._accepted.heard(self)
        self._is_given_up = True
        self.abort()

    def abort(self) -> None:
        if self.transport is not None:
            connected = self.transport.get_extra_info("socket")
            if connected is not None:
                # The socket may be closed already.
                with contextlib.suppress(OSError):
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        super().abort()


class TransferStream(StreamSession):
    """The byte stream of a transfer, which outlasts the peer's last byte: the file is stored after it."""

    __slots__ = ()

    engine: TransferConnection

    def eof_received(self) -> bool:
        if self.is_put_off:
            # Input received before is handled first.
            asyncio.get_running_loop().call_soon(self.eof_received)
        else:
            self.engine.ended()
        return True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.engine.wake()

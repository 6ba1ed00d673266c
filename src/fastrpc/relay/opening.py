"""A connection to a relay until its first bytes show its purpose."""

import asyncio
from typing import Any, Final, Protocol, cast

from fastrpc.networks import network_name, packed_address
from fastrpc.relay.claims import Claims
from fastrpc.relay.hello import MOST_HELLO_BYTES, HelloReader
from fastrpc.relay.refusals import RefusalReason, RelayRefusedError
from fastrpc.relay.wire import GREETING, TOKEN_BYTES
from fastrpc.server.proxied import pass_on
from fastrpc.transports.base import SessionFactory

__all__ = ["Opening", "OpeningRegister"]

#: Seconds for the first bytes of a caller, and for the data connection of its server.
_OPENING_SECONDS: Final = 5.0

#: Fatal alerts (RFC 8446 6) in a record, which every version of TLS reads: 112 is `unrecognized_name`, 80 is
#: `internal_error`.
_UNRECOGNISED_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"
_INTERNAL_ERROR: Final = b"\x15\x03\x03\x00\x02\x02\x50"
_ALERTS: Final = {
    RefusalReason.AWAY: _UNRECOGNISED_NAME,
    RefusalReason.NO_NAME: _UNRECOGNISED_NAME,
    RefusalReason.SLOW: _UNRECOGNISED_NAME,
    RefusalReason.NAME_FULL: _INTERNAL_ERROR,
    RefusalReason.CALLER_FULL: _INTERNAL_ERROR,
    RefusalReason.FULL: _INTERNAL_ERROR,
}


class OpeningRegister(Protocol):
    """The port of a relay."""

    #: The host name of the relay.
    name: str
    claims: Claims

    def enter(self, opening: "Opening") -> None:
        """Record that a connection begins."""

    def leave(self, opening: "Opening") -> None:
        """Stop counting an opening: its first bytes were read, or it is lost."""

    def said(self, opening: "Opening") -> None:
        """Record that an opening named its target."""

    def call(self, opening: "Opening", host: str) -> None:
        """Find the server that a caller wants. RelayRefusedError: the server cannot be reached."""

    def refuse(self, reason: RefusalReason, transport: asyncio.Transport) -> None:
        """Count and log that a connection is refused."""


class Opening(asyncio.BufferedProtocol):
    """Reads the ClientHello of a caller, or the token of a server.

    ::

        ClientHello ──► the relay's own name: its server · a claimed name: waits for a data connection
        greeting, token ──► the spare of a claim
    """

    def __init__(self, front: "OpeningRegister", session_factory: SessionFactory) -> None:
        self._front = front
        self._session_factory = session_factory
        self._reader = HelloReader()
        # The greeting and the token that a server has sent so far.
        self._shown = b""
        self._place = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        # Whether this is a caller that waits for a data connection.
        self._waits = False
        self.transport: asyncio.Transport
        self.peer_name: Any = None
        #: The key that distinguishes callers.
        self.network: bytes
        #: The number of the connection's socket.
        self.descriptor: int
        #: The end of the second in which the opening was counted.
        self.counted_in = 0.0

    @property
    def first(self) -> bytes:
        """The bytes of the caller so far."""
        return bytes(self._reader.received)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer_name = transport.get_extra_info("peername")
        if not isinstance(self.peer_name, tuple):
            # The connection is already lost, so the system no longer returns its address.
            self.transport.abort()
            return
        self.descriptor = transport.get_extra_info("socket").fileno()
        self.network = network_name(packed_address(self.peer_name[0]))
        self._timer = asyncio.get_running_loop().call_later(_OPENING_SECONDS, self._run_late)
        self._front.enter(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        self._place = bytearray(MOST_HELLO_BYTES - len(self._reader.received))
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        received = self._place[:nbytes]
        if self._waits:
            self._keep(received)
            return
        try:
            if self._shown or (received[0] == GREETING[0] and not self._reader.received):
                self._read_token(received)
            else:
                self._read_hello(received)
        except RelayRefusedError as error:
            self.refuse(error.reason)

    def eof_received(self) -> bool:
        # End the opening now: a data connection that arrives before `connection_lost` is for another caller.
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def refuse(self, reason: RefusalReason) -> None:
        """Close the connection, with an alert if its peer speaks TLS."""
        self._leave()
        self._front.refuse(reason, self.transport)
        alert = _ALERTS.get(reason)
        if alert is None:
            self.transport.abort()
            return
        self.transport.write(alert)
        self.transport.close()

    def leave(self) -> asyncio.Transport:
        """Hand the connection over to a pair."""
        self._leave()
        return self.transport

    def abort(self) -> None:
        """Close the connection, because the relay ends."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._front.leave(self)

    def _run_late(self) -> None:
        self.refuse(RefusalReason.SLOW if self._waits else RefusalReason.LATE)

    def _read_token(self, received: bytearray) -> None:
        self._shown += received
        size = len(GREETING) + TOKEN_BYTES
        if not self._shown.startswith(GREETING[: len(self._shown)]):
            raise RelayRefusedError(RefusalReason.NOT_TLS)
        if len(self._shown) > size:
            raise RelayRefusedError(RefusalReason.EARLY)
        if len(self._shown) == size:
            claim, ticket = self._front.claims.redeem(self._shown[len(GREETING) :])
            self._front.said(self)
            self._leave()
            claim.add_spare(self.transport, ticket)

    def _read_hello(self, received: bytearray) -> None:
        name = self._reader.feed(received)
        if name is None:
            return
        if name == self._front.name:
            self._front.said(self)
            self._leave()
            pass_on(self.transport, self.transport, self._session_factory, self.first)
            return
        self._waits = True
        self._keep(b"")
        self._front.call(self, name)

    def _keep(self, received: bytes | bytearray) -> None:
        """Store bytes of a waiting caller: only a connection that is read reports that its peer has disconnected."""
        kept = self._reader.received
        kept += received
        if len(kept) >= MOST_HELLO_BYTES:
            self.transport.pause_reading()

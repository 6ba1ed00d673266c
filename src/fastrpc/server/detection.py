"""Detection of a connection's protocol by its first bytes.

A server with one protocol skips it: sessions are then made as connections are accepted.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from fastrpc.protocols.base import Protocol, ServerParts, Verdict

__all__ = ["Detection", "UndecidedConnection"]

#: The most bytes that detection may look at.
_FIRST_BYTES = 256


class Detection:
    """The connections of one server whose protocol is unknown."""

    def __init__(self, protocols: Sequence[Protocol]) -> None:
        self.protocols = protocols
        #: In order of age, the oldest first.
        self.undecided: dict[UndecidedConnection, None] = {}

    def connection(self, parts: ServerParts) -> "UndecidedConnection":
        """Return the asyncio protocol of a new connection until its wire protocol is known."""
        return UndecidedConnection(self, parts)

    def add(self, connection: "UndecidedConnection", limit: int) -> None:
        """Wait for the first bytes of a connection. With more than `limit` waiting, close the oldest."""
        self.undecided[connection] = None
        if len(self.undecided) > limit:
            next(iter(self.undecided)).abort()

    def abort(self) -> None:
        """Close all of them: the server takes no more work."""
        for connection in list(self.undecided):
            connection.abort()


class UndecidedConnection(asyncio.BufferedProtocol):
    """One connection, until a protocol takes it over."""

    def __init__(self, detection: Detection, parts: ServerParts) -> None:
        self._detection = detection
        self._parts = parts
        self._early = b""
        self._place = bytearray(_FIRST_BYTES)
        self.transport: asyncio.Transport
        self.peer_name: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer_name = transport.get_extra_info("peername")
        config = self._parts.config
        if config.timeouts.handshake is not None:
            self._timer = self._parts.loop.call_later(config.timeouts.handshake, self.abort)
        self._detection.add(self, config.admission.handshakes)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self._early += self._place[:nbytes]
        verdicts = [(protocol, protocol.detect(self._early)) for protocol in self._detection.protocols]
        for protocol, verdict in verdicts:
            if verdict is Verdict.YES:
                self._hand_over(protocol)
                return
        if all(verdict is Verdict.NO for _, verdict in verdicts) or len(self._early) >= _FIRST_BYTES:
            names = ", ".join(protocol.name for protocol in self._detection.protocols)
            self._parts.gate.dispatcher.stranger(self, f"its first bytes match none of the protocols {names}")
            self.abort()

    def describe_peer(self) -> Any:
        """Return the peer's address."""
        return self._parts.gate.dispatcher.describe_peer(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def abort(self) -> None:
        """Close without an error frame: the peer's protocol is unknown."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        self._detection.undecided.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def _hand_over(self, protocol: Protocol) -> None:
        self._leave()
        transport = self.transport
        try:
            session = protocol.server_engine(self._parts)
            # Loops choose their read method when reading begins.
            transport.pause_reading()
            transport.set_protocol(session)
            transport.resume_reading()
            session.connection_made(transport)
            self._replay(session)
        except BaseException:
            transport.abort()
            raise

    def _replay(self, session: Any) -> None:
        if not hasattr(session, "get_buffer"):
            session.data_received(self._early)
            return
        early = memoryview(self._early)
        while early and not self.transport.is_closing():
            with memoryview(session.get_buffer(len(early))) as place:
                size = min(len(early), len(place))
                place[:size] = early[:size]
            session.buffer_updated(size)
            early = early[size:]

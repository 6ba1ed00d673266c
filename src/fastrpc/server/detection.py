"""Detection of a connection's protocol by its first bytes.

A server with one protocol skips detection and creates sessions when it accepts connections. The HTTP gateway counts as
two protocols, HTTP/1.1 and HTTP/2, unless `HTTP.http2` is False.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from fastrpc._core.io.layer import is_nameless
from fastrpc.protocols.base import Match, Protocol, ServerParts, server_stream
from fastrpc.tls.failures import HandshakeError
from fastrpc.transports.early_bytes import replay

__all__ = ["Detection", "UndecidedConnection"]

#: The most bytes that detection may read.
_FIRST_BYTES = 256


class Detection:
    """The connections of one server whose protocol is not yet known.

    Args:
        protocols: the protocols that can be detected.
        seconds: the most seconds for the first bytes; None for no limit.
        otherwise: the protocol that answers connections that match no protocol; None to close them.
    """

    def __init__(
        self, protocols: Sequence[Protocol], seconds: float | None, otherwise: Protocol | None = None
    ) -> None:
        self.protocols = protocols
        self.seconds = seconds
        self.otherwise = otherwise
        self.undecided: set[UndecidedConnection] = set()
        self.is_shut = False

    def connection(self, parts: ServerParts) -> "UndecidedConnection":
        """Return the asyncio protocol that handles a new connection until its wire protocol is known."""
        return UndecidedConnection(self, parts)

    def shut(self) -> None:
        """Close all current and later connections, because the server closes."""
        self.is_shut = True
        for connection in list(self.undecided):
            connection.abort()


class UndecidedConnection(asyncio.BufferedProtocol):
    """One connection until its protocol is known.

    Until then the connection counts as a connection in its handshake. If too many connections are in their handshake,
    the connection that was silent for longest is closed.
    """

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
        if self._detection.is_shut or is_nameless(transport):
            self.transport.abort()
            return
        if self._detection.seconds is not None:
            self._timer = self._parts.loop.call_later(self._detection.seconds, self.abort)
        self._detection.undecided.add(self)
        self._parts.openings.add_undecided(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._place)[: _FIRST_BYTES - len(self._early)]

    def buffer_updated(self, nbytes: int) -> None:
        self._early += self._place[:nbytes]
        verdicts = [
            (protocol, protocol.detect(self._early))
            for protocol in self._detection.protocols
            if protocol.detect is not None
        ]
        # YES is final, even if a protocol earlier in the list might match after more bytes.
        for wanted in (Match.YES, Match.OTHERWISE):
            for protocol, verdict in verdicts:
                if verdict is wanted:
                    self._choose(protocol)
                    return
        if all(verdict is Match.NO for _, verdict in verdicts) or len(self._early) >= _FIRST_BYTES:
            if self._detection.otherwise is not None:
                self._choose(self._detection.otherwise)
                return
            names = ", ".join(protocol.name for protocol in self._detection.protocols)
            self._refuse(f"its first bytes match none of the protocols {names}")
            return
        self._parts.openings.add_undecided(self)

    def _choose(self, protocol: Protocol) -> None:
        if self._fits_alpn(protocol):
            self._hand_over(protocol)

    def _refuse(self, reason: str) -> None:
        dispatcher = self._parts.gate.dispatcher
        dispatcher.stranger(dispatcher.describe_peer(self), reason, self._early)
        self.abort()

    def _fits_alpn(self, protocol: Protocol) -> bool:
        """Return whether TLS agreed on the protocol that was detected; if not, close the connection."""
        if self.transport.get_extra_info("ssl_object") is None:
            return True
        agreed = self.transport.get_extra_info("alpn_protocol")
        if agreed in protocol.agreed:
            return True
        self._refuse(f"it speaks {protocol.name}, and TLS agreed to {agreed or 'no protocol'} (ALPN)")
        return False

    def heard_below(self) -> None:
        """Record that the TLS layer has received bytes of its handshake."""
        if self in self._detection.undecided:
            self._parts.openings.add_undecided(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if isinstance(exc, HandshakeError):
            dispatcher = self._parts.gate.dispatcher
            dispatcher.refused_tls(dispatcher.describe_peer(self), exc)

    def abort(self) -> None:
        """Close without an error frame: the peer's protocol is unknown."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        self._detection.undecided.discard(self)
        self._parts.openings.leave_undecided(self)
        if self._timer is not None:
            self._timer.cancel()

    def _hand_over(self, protocol: Protocol) -> None:
        self._leave()
        transport = self.transport
        try:
            session = server_stream(protocol, self._parts)
            # Pause and resume, because loops choose how to read from a transport when reading begins.
            transport.pause_reading()
            transport.set_protocol(session)
            transport.resume_reading()
            session.connection_made(transport)
            replay(self._early, transport, lambda: session)
        except BaseException:
            transport.abort()
            raise

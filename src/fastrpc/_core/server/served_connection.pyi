import asyncio
from logging import Logger

from fastrpc._core.link.contract import Dialect, Handling
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

logger: Logger

class PlainDialect(Dialect):
    """The dialect of protocols without special texts. It returns None, so that the dispatcher's text is used."""

class PlainHandling(Handling):
    """The handling of calls of a protocol that has neither forms nor mounted applications."""

class ServedConnection:
    """The served calls of one connection, as the gate sees them.

    Args:
        gate: the gate of the server.
        protocol: the name of the engine's protocol.
    """

    #: The authenticated identity of the peer; a call's identity may differ.
    identity: Identity | None
    #: Whether the peer may list the services.
    reveals_services: bool
    #: The peer; None until an engine knows it.
    peer_info: Peer | None
    #: The most bytes of an answer that the peer accepts.
    max_message: int
    max_metadata: int

    def __init__(self, gate: Gate, protocol: str) -> None: ...
    @property
    def expires_ns(self) -> int:
        """The instant at which its credential expires, in nanoseconds of the monotonic clock; 0: never."""

    @property
    def is_expired(self) -> bool:
        """Whether its credential has expired."""

    @property
    def gate(self) -> Gate: ...
    @property
    def protocol(self) -> str: ...
    @property
    def has_trailers(self) -> bool:
        """Whether each answer has a head and trailers, which may repeat a key."""

    @property
    def is_closed(self) -> bool:
        """Whether the peer is gone, so that answers are dropped."""

    @property
    def running(self) -> tuple[ServerCall, ...]:
        """The calls whose handlers did not end in their first turn of the loop."""

    @property
    def waiting(self) -> tuple[ServerCall, ...]:
        """The calls that wait for their start."""

    @property
    def holding(self) -> int:
        """The reasons why requests wait: 1 a stall of the loop, 2 waiting output, 4 little memory, 8 a drain."""

    @property
    def request_held(self) -> int:
        """Bytes of requests being received, waiting or handled."""

    @property
    def held_bytes(self) -> int:
        """Bytes that the connection holds: requests, call records, output, deferred reads."""

    def abandon(self) -> None:
        """Close the connection: an outcome could not be sent, and a call may stay unanswered."""

    def return_credit(self) -> int:
        """Return the withheld credit to the peer."""

    def describe_peer(self) -> Peer | None:
        """Return the peer."""

    def note_probe(self) -> None:
        """Note that a call was a health probe."""

    def drain_event(self) -> asyncio.Event:
        """Return the event that is set when this connection starts to drain."""

    @property
    def is_draining(self) -> bool:
        """Whether the connection drains."""

    def note_drain(self) -> None:
        """Refuse further calls, and notify handlers that the connection drains: `current_call().draining`."""

from asyncio import BaseTransport
from logging import Logger
from typing import Any, final

from fastrpc import config
from fastrpc._core.io.session import Session
from fastrpc._core.serving.exchange import Exchange
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.openings import Openings
from fastrpc.rpc.peer import Peer

logger: Logger

@final
class NativeExchange(Exchange):
    """The served calls of one connection that speaks the native protocol."""

    @property
    def session(self) -> ServerSession | None:
        """The connection, or None once it is gone."""

    def describe_peer(self) -> Peer:
        """Return who is on the other side; known also when the connection is gone."""

    def note_probe(self) -> None:
        """Note that a call only asked for health: it is no use of the connection."""

    def note_drain(self) -> None:
        """Tell handlers that the connection drains. Its GOAWAY with FINAL says which calls are too late."""

    def return_credit(self) -> int: ...

class ServerSession(Session):
    """One connection of one client.

    Args:
        options: those of `Session`.
    """

    def __init__(
        self, *, gate: Gate, openings: Openings, timeouts: config.Timeouts, **options: Any
    ) -> None: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def openings(self) -> Openings: ...
    @property
    def exchange(self) -> NativeExchange:
        """What the gate knows of this connection."""

    @property
    def held_bytes(self) -> int:
        """Bytes that this connection holds: requests, records of calls, output, reads that wait for a turn."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Count the connection; its opening has to follow in time."""

    def describe_peer(self) -> Peer:
        """Return who is on the other side."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls; a connection that is only opening is told as soon as it can be.

        Endless handlers learn of it through `current_call().draining`.
        """

    @property
    def has_drained(self) -> bool:
        """Whether the peer knows that nothing new is taken, and the transport has all our bytes."""

    def resume_writing(self) -> None: ...
    def end_calls(self, text: str) -> int:
        """Answer every call that is still under way, and stop its handler: UNAVAILABLE, for this reason."""

    def return_credit(self) -> int:
        """Return the connection credit that was kept back."""

    def stats(self) -> dict[str, int]:
        """Return what is under way as plain data: calls, one_way, buffered, credit."""

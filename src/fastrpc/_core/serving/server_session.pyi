from asyncio import BaseTransport
from logging import Logger
from typing import Any

from fastrpc import config
from fastrpc._core.io.session import Session
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.openings import Openings
from fastrpc.calling.peer import Peer

logger: Logger

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

    def resume_writing(self) -> None: ...
    def stats(self) -> dict[str, int]:
        """Return what is under way as plain data: calls, one_way, calling, buffered, credit."""

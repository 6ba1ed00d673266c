from logging import Logger
from typing import Any, final

from fastrpc import config
from fastrpc._core.native.connection import Connection
from fastrpc._core.native.hooks import Side
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.openings import Openings
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

logger: Logger

@final
class ServerSide(Side):
    """The decisions of the server's side of one connection."""

@final
class ServerConnection(Connection):
    """The server's side of one connection.

    Args:
        timeouts, keepalive: the rules of its life.
        options: as for `Connection`.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        openings: Openings,
        timeouts: config.Timeouts,
        keepalive: config.Keepalive,
        **options: Any,
    ) -> None: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def held_bytes(self) -> int:
        """The bytes that this connection holds: requests, call records, output, reads that wait for a turn."""

    def describe_peer(self) -> Peer:
        """Return the peer."""

    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool:
        """Note the proven identity of the peer, and its expiry; return False if it differs from an earlier one.

        Args:
            generation: the generation of the files that the verdict comes from.
        """

    def answer_auth(self, status: int, text: str = "", valid_seconds: int = 0) -> None:
        """Send the verdict about the peer's credential; a verdict other than OK ends the connection."""

    def go_on(self) -> None:
        """Handle the frames that waited for a verdict."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Refuse new calls. A connection in its opening is notified when it is open.

        Handlers are notified through `current_call().draining`, so that endless handlers can end.
        """

    def stats(self) -> dict[str, int]:
        """Return what is under way as plain data: calls, one_way, calling, buffered, credit."""

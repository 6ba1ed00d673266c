from typing import Any, final

from fastrpc._core.http.service import HttpService
from fastrpc._core.http1.connection import HttpConnection
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate
from fastrpc.peers.peer import Peer
from fastrpc.protocols.base import ServerParts
from fastrpc.rpc.identity import Identity

@final
class GatewayConnection(HttpConnection):
    """One connection of a server's HTTP gateway.

    Args:
        parts: shared by all connections of the server.
    """

    def __init__(self, service: HttpService, parts: ServerParts) -> None: ...
    @property
    def service(self) -> HttpService: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def connection(self) -> EngineServedConnection: ...
    def begin_drain(self, reason: int = 0, text: str = "") -> None:
        """Close after the next answer; an idle connection has one second for a last request."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close once all output is sent; a WebSocket gets a close frame that says that the server restarts."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is in progress, all output is sent, and the time for a last request is over."""

    def end_calls(self, text: str) -> None:
        """Answer every call in progress with an error and stop its handler; refuse an incomplete request."""

    def stats(self) -> dict[str, Any]:
        """Return the calls in progress and the memory as plain data: calls, one_way, buffered, credit."""

    def describe_peer(self) -> Peer | None:
        """Return the other side of the connection."""

    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool:
        """Set the identity in the certificate, and when it expires."""

    def go_on(self) -> None:
        """Process the requests that waited for the check of the certificate."""

from collections.abc import Callable, Iterable
from typing import Any, final

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.exchange.request_head import RequestHead
from fastrpc._core.http.http_call import Outcome
from fastrpc._core.http.http_served_connection import HttpServedConnection
from fastrpc._core.http.service import HttpService
from fastrpc._core.http1.connection import HttpConnection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
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
    def connection(self) -> HttpServedConnection: ...
    def is_asked(self, head: RequestHead) -> bool:
        """Return whether this request still waits for its answer."""

    def answer_path(self, status: int, fields: Iterable[tuple[str, str]], content: bytes) -> None:
        """Answer a request to a fixed path."""

    def answer_message(self, content: bytes) -> None:
        """Answer a message of a WebSocket at a fixed path, unless the connection has ended."""

    def may_call(self, identity: Identity | None, route: MethodRoute | None) -> bool:
        """Return whether a caller may call a method."""

    def begin_call(
        self,
        method: str,
        arguments: bytes,
        done: Callable[[Outcome], None],
        codec: str = "json",
        one_way: bool = False,
    ) -> ServerCall:
        """Call a unary method in the name of the request being answered; `done` gets its `Outcome`.

        `done` may be called before this returns; a one-way call that starts never calls it.
        """

    def begin_drain(self, reason: int = 0, text: str = "") -> None:
        """Close with the next answer; a connection that rests has a second for its last request."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close once all output is sent; a WebSocket is told that the server restarts."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is under way, all output is sent, and no last request is about to come."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler."""

    def stats(self) -> dict[str, Any]:
        """Return what is under way as plain data: calls, one_way, buffered, credit."""

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
        """Note who the certificate names, and until when."""

    def go_on(self) -> None:
        """Take the requests that waited for a verdict."""

from collections.abc import Callable, Iterable
from typing import Any, final

from fastrpc._core.calls.call import MethodRoute, RouteTable
from fastrpc._core.exchange.request_head import RequestHead
from fastrpc._core.http.http_call import Outcome
from fastrpc._core.server.served_call import ServerCall
from fastrpc.rpc.identity import Identity

@final
class PathExchange:
    """A request to a fixed path, or a message of a WebSocket there."""

    @property
    def head(self) -> RequestHead:
        """The head of the request, or of the request that opened the WebSocket."""

    @property
    def is_message(self) -> bool:
        """Whether this is a message of a WebSocket."""

    @property
    def is_asked(self) -> bool:
        """Whether the request waits for its answer."""

    @property
    def peer(self) -> Any:
        """The other side of the connection."""

    @property
    def transport(self) -> Any:
        """The transport of the connection, or None once the connection is closed."""

    @property
    def reveals_services(self) -> bool:
        """Whether callers may list the services."""

    @property
    def routes(self) -> RouteTable:
        """The methods of the server."""

    def may_call(self, identity: Identity | None, route: MethodRoute | None) -> bool:
        """Return whether a caller may call a method. An unknown method (None) is forbidden."""

    def answer(self, status: int, fields: Iterable[tuple[str, str]], content: bytes) -> None:
        """Answer, unless the connection has ended. The answer to a message is only the content, if there is any."""

    def count_answer(self, change: int) -> None:
        """Change the counted bytes of an answer that waits."""

    def call(
        self,
        method: str,
        arguments: bytes,
        done: Callable[[Outcome], None],
        codec: str = "json",
        one_way: bool = False,
    ) -> ServerCall:
        """Call a unary method on behalf of the request; `done` gets its `Outcome`.

        `done` may be called before this returns; a one-way call that starts never calls it.
        """

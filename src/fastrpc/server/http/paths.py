"""Fixed paths of the HTTP gateway: a request to a path, its handler and its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastrpc._core.calls.call import MethodRoute, RouteTable
from fastrpc._core.exchange.request_head import RequestHead
from fastrpc._core.http.http_call import Outcome
from fastrpc._core.http.path_exchange import PathExchange
from fastrpc._core.server.served_call import ServerCall
from fastrpc.rpc.identity import Identity

__all__ = ["HttpAnswer", "HttpRequest", "Outcome", "Path"]


@dataclass(frozen=True)
class HttpAnswer:
    """An answer. The gateway adds Content-Length, `nosniff` and the fields that browsers need."""

    status: int
    #: The media type; "" for no content.
    content_type: str = ""
    content: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()


class HttpRequest:
    """A request to a fixed path, or a message on a WebSocket at that path."""

    def __init__(self, exchange: PathExchange, body: bytes, identity: Identity | None) -> None:
        self._exchange = exchange
        self.body = body
        #: The identity of the sender; None if it has none, or if the path does not need one.
        self.identity = identity

    @property
    def head(self) -> RequestHead:
        """The head of the request, or of the request that opened the WebSocket."""
        return self._exchange.head

    @property
    def peer(self) -> Any:
        """The other side of the connection."""
        return self._exchange.peer

    @property
    def root(self) -> str:
        """The prefix of the gateway's paths in a program that includes the gateway.

        In a server it is "", because there the prefix is the setting HTTP.root_path.
        """
        transport = self._exchange.transport
        return "" if transport is None else transport.get_extra_info("root_path", "")

    @property
    def reveals_services(self) -> bool:
        """True if callers may list the services."""
        return self._exchange.reveals_services

    @property
    def routes(self) -> RouteTable:
        """The methods of the server."""
        return self._exchange.routes

    def may_call(self, route: MethodRoute | None) -> bool:
        """Return whether the sender may call a method."""
        return self._exchange.may_call(self.identity, route)

    def answer(self, answer: HttpAnswer) -> None:
        """Send an answer, unless the connection has ended. For a WebSocket message, send only the content."""
        fields = answer.fields
        if answer.content_type:
            fields = (("Content-Type", answer.content_type), *fields)
        self._exchange.answer(answer.status, fields, answer.content)

    def count_answer(self, change: int) -> None:
        """Add the bytes of a waiting answer to the memory count; a negative number subtracts."""
        self._exchange.count_answer(change)

    def call(
        self,
        method: str,
        arguments: bytes,
        done: Callable[[Outcome], None],
        *,
        codec: str = "json",
        one_way: bool = False,
    ) -> ServerCall:
        """Call a unary method on behalf of the sender, with its metadata and its deadline.

        Args:
            arguments: a map by name.
            done: receives the outcome, possibly before this method returns. It is not called for a started one-way
                call.
        """
        return self._exchange.call(method, arguments, done, codec, one_way)


@dataclass(frozen=True, kw_only=True)
class Path:
    """The handler of requests to one path."""

    #: HTTP methods. GET includes HEAD.
    verbs: tuple[str, ...]
    #: Returns the answer, or None if `HttpRequest.answer` is called later.
    handle: Callable[[HttpRequest], HttpAnswer | None]
    #: The media types that POST accepts.
    content_types: tuple[str, ...] = ()
    #: True to verify a credential first, if one is sent. A wrong credential is refused.
    needs_identity: bool = False

    #: True to handle WebSocket messages like bodies.
    takes_messages: bool = False

    def takes(self, head: RequestHead) -> bool:
        """Return whether the body of a POST has an accepted type."""
        given = [value.partition(";")[0].strip(" \t").lower() for value in head.values("content-type")]
        return len(given) == 1 and given[0] in self.content_types

    def serve(self, exchange: PathExchange, body: bytes, identity: Identity | None) -> None:
        """Handle a request."""
        self._serve(HttpRequest(exchange, body, identity))

    def take_message(self, exchange: PathExchange, message: bytes, identity: Identity | None) -> None:
        """Handle a message of a WebSocket."""
        self._serve(HttpRequest(exchange, message, identity))

    def _serve(self, request: HttpRequest) -> None:
        answer = self.handle(request)
        if answer is not None:
            request.answer(answer)
        # Running calls keep the request until their answer, and each counts its own bytes. So drop the body.
        request.body = b""

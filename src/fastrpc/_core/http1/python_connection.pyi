from collections.abc import Iterable
from typing import final

from fastrpc._core.exchange.exchange import HttpApplication
from fastrpc._core.exchange.request_head import RequestHead, RequestLimits
from fastrpc._core.http1.connection import HttpConnection

@final
class PythonApplication(HttpApplication):
    """The application that passes requests to the methods of their connection, in Python."""

class PythonHttpConnection(HttpConnection):
    """The server's side of one HTTP/1.1 connection; a subclass in Python answers its requests."""

    def __init__(self, limits: RequestLimits) -> None: ...
    def on_connected(self) -> None:
        """Handle the begin of the connection; `abort` refuses it."""

    def on_head(self, head: RequestHead) -> int:
        """Return the limit for the body of this request, in bytes.

        Raises:
            RequestRefusedError: the request is refused before its body is read; the connection closes.
        """

    def on_request(self, head: RequestHead, body: bytes) -> None:
        """Answer a request, now or later, by `respond`."""

    def on_lost(self) -> None:
        """Handle the end of the connection. No further answer is needed."""

    def respond(
        self, status: int, fields: Iterable[tuple[str, str]], body: bytes, *, closes: bool = False
    ) -> None:
        """Answer the request that was passed to `on_request` last. The answer to a HEAD request has no body.

        Raises:
            RuntimeError: no request waits for an answer.
            ValueError: a field would break the head.
        """

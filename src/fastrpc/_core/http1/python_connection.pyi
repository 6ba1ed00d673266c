from collections.abc import Iterable
from typing import final

from fastrpc._core.exchange.exchange import HttpApplication
from fastrpc._core.exchange.request_head import RequestHead, RequestLimits
from fastrpc._core.http1.connection import HttpConnection

@final
class PythonApplication(HttpApplication):
    """Passes requests on to their connection, in Python."""

class PythonHttpConnection(HttpConnection):
    """The server's side of one HTTP/1.1 connection; a subclass in Python answers its requests."""

    def __init__(self, limits: RequestLimits) -> None: ...
    def on_connected(self) -> None:
        """Learn that the connection has begun; `abort` refuses it."""

    def on_head(self, head: RequestHead) -> int:
        """Return the most bytes of a body that this request may have.

        Raises:
            RequestRefusedError: it is refused before its body came; the connection closes.
        """

    def on_request(self, head: RequestHead, body: bytes) -> None:
        """Answer a request, now or later, by `respond`."""

    def on_lost(self) -> None:
        """Learn that the connection is gone and needs no answer any more."""

    def respond(
        self, status: int, fields: Iterable[tuple[str, str]], body: bytes, *, closes: bool = False
    ) -> None:
        """Answer the request that was handed over last. A HEAD request gets no body.

        Raises:
            RuntimeError: no request waits for an answer.
            ValueError: a field would break the head.
        """

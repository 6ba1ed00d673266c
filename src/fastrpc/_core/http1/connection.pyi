from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc._core.http1.head import Http1Head
from fastrpc._core.io.engine import Engine

class HttpConnection(Engine):
    """The server's side of one HTTP/1.1 connection."""

    def __init__(self, limits: RequestLimits) -> None: ...
    @property
    def head(self) -> Http1Head | None:
        """The request that is being received or answered, or None."""

    @property
    def is_answering(self) -> bool:
        """Whether a request waits for its answer."""

    @property
    def is_draining(self) -> bool:
        """Whether the next answer closes the connection."""

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is idle: no request, no tunnel, nothing to write."""

    def begin_drain(self) -> None:
        """Close after the next answer; an idle connection stays open for one more request."""

    def unsent_bytes(self) -> int:
        """Return the bytes of output that the peer has not read."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close once all output is sent, and linger if input is unread."""

from typing import final

from fastrpc._core.exchange.request_head import RequestHead, RequestLimits

@final
class Http1Head(RequestHead):
    """The request line and the fields of a valid HTTP/1.1 request."""

    @property
    def minor_version(self) -> int:
        """1 for HTTP/1.1, 0 for HTTP/1.0."""

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to send another request on the connection."""

def parse_request_head(data: bytes, limits: RequestLimits) -> tuple[Http1Head | None, int]:
    """Return the head at the start of these bytes and its size, or None and 0 if it is incomplete.

    Raises:
        RequestRefusedError: the request is refused.
    """

from typing import final

from fastrpc._core.exchange.request_head import RequestLimits

@final
class BodyReader:
    """The reader of the body of one request.

    Args:
        content_length: as `RequestHead.content_length`: the number of bytes, -1 for chunks.
        limit: the most bytes that are taken.

    Raises:
        RequestRefusedError: it is longer.
    """

    def __init__(self, content_length: int, limit: int, limits: RequestLimits) -> None: ...
    @property
    def state(self) -> int: ...
    @property
    def is_whole(self) -> bool: ...
    def take_data(self, data: bytes) -> int:
        """Parse the bytes of the body; return the number of parsed bytes. The caller presents the rest again.

        Raises:
            RequestRefusedError: it is malformed, or too long.
        """

    def value(self) -> bytes:
        """Return the collected bytes."""

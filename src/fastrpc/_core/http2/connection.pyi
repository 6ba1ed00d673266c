from typing import final

@final
class Http2Connection:
    """The state of one connection of HTTP/2, without input and output."""

    @property
    def is_closed(self) -> bool: ...
    @property
    def closed_code(self) -> int:
        """The error code by which this side ended the connection; -1 before."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def stream_pool_left(self) -> int:
        """Bytes that streams may still borrow, for messages larger than their window and for windows that grow."""

    @property
    def growth_left(self) -> int:
        """The bytes of the pool that windows may take."""

from typing import final

@final
class Http2Connection:
    """The state of one connection of HTTP/2, without input and output."""

    @property
    def is_closed(self) -> bool: ...
    @property
    def closed_code(self) -> int:
        """The error code with which this side ended the connection, before that -1."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def stream_pool_left(self) -> int:
        """The bytes that streams may still borrow, for messages larger than their windows and for growing windows."""

    @property
    def growth_left(self) -> int:
        """The bytes of the pool by which windows may still grow."""

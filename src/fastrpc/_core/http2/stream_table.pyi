from typing import final

@final
class FlowControl:
    """The windows of a connection, and the rules of its streams' windows, in both directions."""

    @property
    def sending(self) -> int:
        """Bytes that the connection may send."""

    @property
    def first_sending(self) -> int:
        """Bytes that a new stream may send."""

    @property
    def granted(self) -> int:
        """Bytes of the stream pool that streams were granted for long messages."""

    @property
    def first_receiving(self) -> int:
        """Bytes that the peer may send on a new stream."""

@final
class Http2Stream:
    """A stream that is open or half-closed."""

    user: object

    @property
    def id(self) -> int: ...
    @property
    def is_ended_by_peer(self) -> bool: ...
    @property
    def is_ended_by_us(self) -> bool: ...
    @property
    def has_head(self) -> bool:
        """Whether the head of the peer's message came."""

    @property
    def content_left(self) -> int:
        """Bytes of DATA that content-length still announces; -1: it announces nothing."""

@final
class StreamTable:
    """The streams of a connection, all opened by its client.

    Args:
        is_client: whether this side opens them.
        limit: the most streams that are open at once.
    """

    limit: int

    def __init__(self, is_client: bool, limit: int = 100) -> None: ...
    @property
    def is_client(self) -> bool: ...
    @property
    def highest(self) -> int:
        """The highest id so far."""

    @property
    def is_left(self) -> bool:
        """Whether the server has sent GOAWAY: no stream is opened any more."""

    @property
    def last_taken(self) -> int:
        """The highest id that GOAWAY of the server takes."""

    @property
    def count(self) -> int:
        """The streams that are open or half-closed."""

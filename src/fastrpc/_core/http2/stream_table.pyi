from typing import final

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
    def last_taken(self) -> int:
        """The highest id that GOAWAY of the server takes."""

    @property
    def count(self) -> int:
        """The streams that are open or half-closed."""

    def received(self, kind: int, id: int) -> Http2Stream | None:
        """Return the stream that a frame of the peer names; HEADERS opens it. None: it is over, and the frame is dropped.

        Raises:
            Http2ViolationError: the peer broke a rule, of the connection or the stream.
        """

    def received_head(
        self, stream: Http2Stream, is_interim: bool = False, ends_stream: bool = False, content_length: int = -1
    ) -> None:
        """Note the head of a message, or its trailers.

        Raises:
            Http2ViolationError: the peer broke a rule of the stream.
        """

    def received_data(self, stream: Http2Stream, size: int, ends_stream: bool = False) -> None:
        """Note DATA of a stream.

        Raises:
            Http2ViolationError: the peer broke a rule of the stream.
        """

    def opened(self) -> Http2Stream | None:
        """Open a stream of ours. None: the limit is reached, the ids are used up, or the server leaves."""

    def ended(self, stream: Http2Stream) -> None:
        """End our side of a stream."""

    def was_reset(self, stream: Http2Stream, is_by_us: bool = True) -> None:
        """Close a stream after RST_STREAM of a side."""

    def leaving(self, last_taken: int) -> list[Http2Stream]:
        """Take GOAWAY of a server: return the streams that it did not handle.

        Raises:
            Http2ViolationError: it takes more streams than the one before.
        """

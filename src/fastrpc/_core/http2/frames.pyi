from typing import final

class Http2Settings:
    """The settings of one side of a connection, at first the defaults of RFC 9113."""

    @property
    def header_table_bytes(self) -> int: ...
    @property
    def streams(self) -> int:
        """The most streams that the other side may have open; 2 ** 32 - 1 means no limit."""

    @property
    def window_bytes(self) -> int:
        """The window of each new stream."""

    @property
    def frame_bytes(self) -> int:
        """The most bytes of a frame."""

    @property
    def header_list_bytes(self) -> int:
        """The most bytes of a header list; 2 ** 32 - 1 means no limit."""

    @property
    def allows_push(self) -> bool: ...
    @property
    def allows_connect(self) -> bool:
        """Whether extended CONNECT (RFC 8441) is accepted."""

@final
class OwnSettings:
    """The settings that this side sent. Each SETTINGS frame applies once the peer has acknowledged it."""

    def __init__(self, is_server: bool) -> None: ...
    @property
    def acknowledged(self) -> Http2Settings: ...
    @property
    def unacknowledged(self) -> int:
        """The number of SETTINGS frames that the peer has not acknowledged."""

@final
class Http2Parser:
    """The parser that cuts the bytes of a connection into frames.

    Args:
        is_server: whether the peer is a client, which begins with a preface.
        frame_limit: the most bytes of a frame, as our SETTINGS_MAX_FRAME_SIZE says.
    """

    frame_limit: int

    def __init__(self, is_server: bool, frame_limit: int = 16384) -> None: ...

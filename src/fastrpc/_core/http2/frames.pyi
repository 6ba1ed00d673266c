from typing import final

@final
class Http2Parser:
    """Cuts the bytes of a connection into frames.

    Args:
        is_server: whether the peer is a client, which begins with a preface.
        frame_limit: the most bytes of a frame, as our SETTINGS_MAX_FRAME_SIZE says.
    """

    frame_limit: int

    def __init__(self, is_server: bool, frame_limit: int = 16384) -> None: ...

from typing import final

from fastrpc._core.http2.stream_table import FlowControl, StreamTable

@final
class Http2Message:
    """A message of a stream that could not be written at once."""

@final
class Http2Sender:
    """The streams that wait to send, and the output of the connection."""

    def __init__(self, flow: FlowControl, streams: StreamTable) -> None: ...
    @property
    def queued_bytes(self) -> int:
        """The bytes of all waiting messages."""

from typing import final

from fastrpc._core.http2.sender import Http2Sender
from fastrpc._core.http2.stream_table import FlowControl, StreamTable

@final
class Http2Control:
    """The control frames of a connection, the budgets against floods, and the drain."""

    def __init__(self, sender: Http2Sender, flow: FlowControl, streams: StreamTable) -> None: ...

@final
class Http2Incoming:
    """The parsing of received frames, the check of heads, and the windows that the peer may fill."""

    def __init__(self, control: Http2Control, header_list_bytes: int) -> None: ...

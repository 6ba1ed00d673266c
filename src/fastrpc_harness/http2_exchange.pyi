from typing import final

from fastrpc._core.http2.hpack import HeaderTemplate
from fastrpc._core.http2.stream_handler import StreamHandler

@final
class ExchangingClient(StreamHandler):
    """A client that sends a head, a timeout and a message for each call, and counts the answers."""

    def __init__(self, request: HeaderTemplate, payload: bytes) -> None: ...
    @property
    def answered(self) -> int: ...

@final
class ExchangingServer(StreamHandler):
    """A server that answers each message with a head, a message and trailers."""

    def __init__(self, head: HeaderTemplate, trailers: HeaderTemplate, payload: bytes) -> None: ...

def exchange(
    client: ExchangingClient, server: ExchangingServer, calls: int, in_flight: int, deadlines: bool
) -> None:
    """Make calls in bursts; each burst is passed to the other side in one piece."""

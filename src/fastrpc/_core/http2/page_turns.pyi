from typing import final

from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc._core.http2.connection import Http2Connection
from fastrpc._core.http2.lingering import LingeringStreams

@final
class PageTurns:
    """The turns of the requests of one connection whose bytes wait."""

    def __init__(
        self, limits: RequestLimits, http2: Http2Connection, lingering: LingeringStreams
    ) -> None: ...

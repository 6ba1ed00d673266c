from typing import final

from fastrpc._core.exchange.pages import Pages
from fastrpc._core.http2.connection import Http2Connection
from fastrpc._core.http2.lingering import LingeringStreams

@final
class Http2Pages:
    """The requests of one connection that are pages."""

    def __init__(self, pages: Pages, http2: Http2Connection, lingering: LingeringStreams) -> None: ...
    @property
    def pages(self) -> Pages:
        """The pages, which answer the requests."""

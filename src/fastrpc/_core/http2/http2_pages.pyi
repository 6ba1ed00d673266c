from typing import final

from fastrpc._core.exchange.pages import Pages

@final
class Http2Pages:
    """The requests of one connection that are pages."""

    @property
    def pages(self) -> Pages:
        """The pages, which answer them."""

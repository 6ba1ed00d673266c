from typing import final

from fastrpc._core.serving.exchange import Exchange

@final
class HttpExchange(Exchange):
    """The served calls of one HTTP connection."""

    def abandon(self) -> None: ...

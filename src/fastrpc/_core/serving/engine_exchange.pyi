from typing import Any

from fastrpc._core.serving.exchange import Exchange

class EngineExchange(Exchange):
    """The served calls of one connection that is an `Engine`."""

    def abandon(self) -> None: ...
    def stats(self, buffered: int) -> dict[str, Any]:
        """Return what is under way as plain data: calls, one_way, buffered, credit."""

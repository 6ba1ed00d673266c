from typing import Any, final

from fastrpc._core.server.served_connection import ServedConnection

class EngineServedConnection(ServedConnection):
    """The served calls of one connection that is an `Engine`."""

    def abandon(self) -> None: ...
    def stats(self, buffered: int) -> dict[str, Any]:
        """Return the state as plain data: calls, one_way, buffered, credit."""

class UnreadRest:
    """The rest of a request, which is not read before its sender is known."""

@final
class SenderCheck:
    """The check of a long request's sender by its beginning, before the rest is received."""

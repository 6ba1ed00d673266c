from collections.abc import Collection
from typing import final

from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.served_call import ServerCall

@final
class HttpServedConnection(EngineServedConnection):
    """The served calls of one HTTP connection."""

    def unknown_method(self, call: ServerCall, method: str, services: Collection[str] | None) -> str | None:
        """Return the error text for a path that leads to no method, or that of servers in Go."""

    def unknown_codec(self, call: ServerCall) -> str | None:
        """Return the error text of servers in Go, for calls by the header gateway."""

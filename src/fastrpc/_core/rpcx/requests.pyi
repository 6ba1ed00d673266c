from collections.abc import Collection
from typing import final

from fastrpc._core.rpcx.engine import RpcxEngine
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall

class RpcxRequests(RpcxEngine):
    """Makes calls of the frames of one connection; `RpcxServer` hands them to the gate."""

    @property
    def gate(self) -> Gate: ...
    @property
    def connection(self) -> EngineServedConnection: ...
    def go_on(self) -> None:
        """Take the frames that waited for a verdict."""

@final
class RpcxServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks rpcx."""

    def unknown_method(self, call: ServerCall, method: str, services: Collection[str] | None) -> str:
        """Return the error text of servers in Go."""

    def unknown_codec(self, call: ServerCall) -> str | None:
        """Return the error text of servers in Go."""

    def note_drain(self) -> None:
        """Tell handlers that the connection drains. It takes further calls: no word of rpcx says which are too late."""

from fastrpc._core.rpcx.engine import RpcxEngine
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate

class RpcxRequests(RpcxEngine):
    """Makes calls of the frames of one connection; `RpcxServer` hands them to the gate."""

    @property
    def gate(self) -> Gate: ...
    @property
    def connection(self) -> EngineServedConnection: ...
    def go_on(self) -> None:
        """Take the frames that waited for a verdict."""

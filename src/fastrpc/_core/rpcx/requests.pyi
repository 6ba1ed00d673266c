from fastrpc._core.rpcx.engine import RpcxEngine
from fastrpc._core.serving.engine_exchange import EngineExchange
from fastrpc._core.serving.gate import Gate

class RpcxRequests(RpcxEngine):
    """The calls of one connection, as its frames say them; a server's side goes on from there."""

    @property
    def gate(self) -> Gate: ...
    @property
    def exchange(self) -> EngineExchange: ...
    def go_on(self) -> None:
        """Take the frames that waited for a verdict."""

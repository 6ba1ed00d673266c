from fastrpc._core.rpcx.engine import RpcxEngine
from fastrpc._core.serving.engine_exchange import EngineExchange
from fastrpc._core.serving.gate import Gate

class RpcxRequests(RpcxEngine):
    """Makes calls of the frames of one connection; `RpcxServer` hands them to the gate."""

    @property
    def gate(self) -> Gate: ...
    @property
    def exchange(self) -> EngineExchange: ...
    def go_on(self) -> None:
        """Take the frames that waited for a verdict."""

from typing import final

from fastrpc._core.serving.engine_exchange import EngineExchange

@final
class RpcxExchange(EngineExchange):
    """The served calls of one connection that speaks rpcx."""

    def note_drain(self) -> None:
        """Tell handlers that the connection drains. It takes further calls: no word of rpcx says which are too late."""

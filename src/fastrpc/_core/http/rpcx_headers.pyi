from typing import final

@final
class RpcxHeaders:
    """The fields of a request of rpcx's header gateway."""

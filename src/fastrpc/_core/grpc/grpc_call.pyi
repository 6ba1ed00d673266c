from typing import final

from fastrpc._core.server.served_call import ServerCall

@final
class GrpcCall(ServerCall):
    """A call being served that came by gRPC."""

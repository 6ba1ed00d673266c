from fastrpc._core.server.served_call import ServerCall

class GrpcCall(ServerCall):
    """A call being served that came by gRPC."""

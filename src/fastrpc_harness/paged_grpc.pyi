from fastrpc._core.grpc.grpc_wire import GrpcWire

class PagedGrpcWire(GrpcWire):
    """Answers requests for `/page` with a page, once they are whole, and all others as the server does."""

from fastrpc._core.grpc.server import GrpcServer

class PagedGrpcServer(GrpcServer):
    """Answers requests for `/page` with a page, once they are whole, and all others as the server does."""

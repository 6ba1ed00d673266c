from fastrpc._core.http2.connection import Http2Connection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.link import LinkedConnection

class GrpcRequests(Http2Connection):
    """The requests of one connection."""

    @property
    def gate(self) -> Gate: ...
    @property
    def connection(self) -> LinkedConnection: ...

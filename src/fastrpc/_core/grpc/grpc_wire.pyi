from typing import Any, final

from fastrpc._core.exchange.pages import Pages
from fastrpc._core.http2.connection import Http2Connection
from fastrpc._core.link.contract import Assembling, Goodbye, Wire
from fastrpc._core.server.gate import Gate
from fastrpc.config import Keepalive, Limits, Memory

@final
class GrpcWire(Wire):
    """The server's side of one connection.

    Args:
        web: finds requests by gRPC-Web and Connect; None: neither is served.
        proxies: finds the clients of trusted proxies; None: none are trusted.
        pages: answers requests that are no calls; None: there are none.
        serves_grpc: whether calls of gRPC are served; pages answer them otherwise.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        keepalive: Keepalive,
        limits: Limits,
        memory: Memory,
        web: Any = None,
        proxies: Any = None,
        pages: Pages | None = None,
        serves_grpc: bool = True,
    ) -> None: ...
    @property
    def http2(self) -> Http2Connection: ...

@final
class GrpcGoodbye(Goodbye):
    """The goodbye of a connection: GOAWAY."""

@final
class GrpcAssembling(Assembling):
    """Requests and messages that have arrived in part, and pages until their streams end."""

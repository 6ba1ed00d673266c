"""The HTTP gateway as a protocol of servers."""

from fastrpc._core.http.connection import GatewayConnection
from fastrpc.protocols.base import ServerParts, register
from fastrpc.protocols.http.detection import detect_http1
from fastrpc.tls import HTTP_AGREED

__all__ = ["gateway_engine"]


def gateway_engine(parts: ServerParts) -> GatewayConnection:
    """Make the engine of a connection."""
    assert parts.http is not None
    return GatewayConnection(parts.http, parts)


register("http", detect_http1, gateway_engine, agreed=HTTP_AGREED)

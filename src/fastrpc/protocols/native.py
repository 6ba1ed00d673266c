"""The native protocol of PROTOCOL.md, on the server side."""

from fastrpc._core.server.server_connection import ServerConnection
from fastrpc._core.wire.native import MAGIC
from fastrpc.protocols.base import Match, ServerParts, register
from fastrpc.tls import ALPN

__all__ = ["detect_native", "native_engine"]


def detect_native(data: bytes) -> Match:
    """Return whether a connection begins with the native protocol's magic."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        return Match.NO
    return Match.YES if len(data) >= len(MAGIC) else Match.MORE


def native_engine(parts: ServerParts) -> ServerConnection:
    """Make the engine of a connection."""
    engine = ServerConnection(
        gate=parts.gate,
        openings=parts.openings,
        timeouts=parts.config.timeouts,
        keepalive=parts.config.keepalive,
        settings=parts.settings,
        stream_pool=parts.config.memory.stream_pool,
    )
    engine.connection.reveals_services = parts.reveals_services
    return engine


register("native", detect_native, native_engine, agreed=(ALPN,))

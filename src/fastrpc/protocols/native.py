"""The native protocol of PROTOCOL.md, on the server side."""

from fastrpc._core.native.connection import MAGIC
from fastrpc._core.serving.server_session import ServerSession
from fastrpc.protocols.base import ServerParts, Verdict, register

__all__ = ["detect_native", "native_engine"]


def detect_native(data: bytes) -> Verdict:
    """Return whether a connection begins with the magic."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        return Verdict.NO
    return Verdict.YES if len(data) >= len(MAGIC) else Verdict.MORE


def native_engine(parts: ServerParts) -> ServerSession:
    """Make the engine of a connection."""
    engine = ServerSession(
        gate=parts.gate,
        openings=parts.openings,
        timeouts=parts.config.timeouts,
        keepalive=parts.config.keepalive,
        settings=parts.settings,
        stream_pool=parts.config.memory.stream_pool,
    )
    engine.exchange.reveals_services = parts.reveals_services
    return engine


register("native", detect_native, native_engine)

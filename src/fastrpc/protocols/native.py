"""The protocol of PROTOCOL.md, as servers speak it."""

import asyncio

from fastrpc._core.native.connection import MAGIC
from fastrpc._core.serving.server_session import ServerSession
from fastrpc.protocols.base import ServerParts, Verdict, register

__all__ = ["NativeSession", "detect_native", "native_session"]


class NativeSession(ServerSession, asyncio.BufferedProtocol):
    """A server's session as asyncio's own loops want it; uvloop would take the compiled class alone."""

    __slots__ = ()


def detect_native(data: bytes) -> Verdict:
    """Say whether a connection begins with the magic."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        return Verdict.NO
    return Verdict.YES if len(data) >= len(MAGIC) else Verdict.MORE


def native_session(parts: ServerParts) -> NativeSession:
    """Make the session of a connection."""
    session = NativeSession(
        gate=parts.gate,
        openings=parts.openings,
        loop=parts.loop,
        timeouts=parts.config.timeouts,
        keepalive=parts.config.keepalive,
        spin_microseconds=parts.spin_microseconds,
        settings=parts.settings,
        stream_pool=parts.config.memory.stream_pool,
    )
    session.exchange.reveals_services = parts.reveals_services
    return session


register("native", detect_native, native_session)

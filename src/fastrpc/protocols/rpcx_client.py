"""rpcx and Phobos on the client side: a translation below a native connection."""

import asyncio
from typing import Any

from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc._core.rpcx.frames import PHOBOS, RPCX
from fastrpc._core.rpcx.layers import RpcxBlockingIO, RpcxLayer
from fastrpc._core.rpcx.translation import RpcxTranslation
from fastrpc._core.wire.settings import WireSettings
from fastrpc.assigned_numbers import CODECS, COMPRESSORS
from fastrpc.config import ClientConfig
from fastrpc.protocols.base import ClientParts, ClientTraits, StreamSession, register
from fastrpc.protocols.native_client import EARLY_BYTES, native_connection

__all__ = ["RpcxStream", "rpcx_client_engine", "rpcx_io", "rpcx_stream", "rpcx_translation"]

#: The most calls in flight on one connection. A Go server has no such limit and announces none.
_MOST_CALLS = 10_000
_MOST_METADATA = 65_535

_PROFILES = {profile.name: profile for profile in (RPCX, PHOBOS)}


class RpcxStream(RpcxLayer, asyncio.BufferedProtocol):
    """The layer, derived from BufferedProtocol, because asyncio's own loops check for it."""

    __slots__ = ()


def rpcx_translation(
    config: ClientConfig, wire: str = "rpcx", *, takes_pushes: bool = False
) -> RpcxTranslation:
    """Make the translation of a connection. To the native side it announces the abilities of rpcx.

    Args:
        wire: "rpcx" or "phobos".
        takes_pushes: whether the client handles pushes of its server; otherwise they are dropped.
    """
    settings = WireSettings(True)
    settings.max_frame = 1_048_576
    # Only the peer limits the message size, and it does not announce its limit.
    settings.max_message = 2**31
    settings.max_metadata = _MOST_METADATA
    settings.max_calls = _MOST_CALLS
    settings.open_messages = 256
    # Servers answer heartbeats, but do not announce how soon: use the timeout of the settings.
    settings.ping_reply_ms = int(config.keepalive.timeout * 1000)
    settings.codecs = {number: name for name, number in CODECS.items()}
    profile = _PROFILES[wire]
    settings.compressors = {COMPRESSORS["gzip"]: "gzip"} if profile.compresses else {}
    settings.agent = wire
    return RpcxTranslation(
        profile,
        settings=settings.encode(),
        message_bytes=config.limits.message_bytes,
        metadata_bytes=config.limits.metadata_bytes,
        frame_bytes=config.limits.frame_bytes,
        takes_pushes=takes_pushes,
    )


def rpcx_stream(
    stream: StreamSession,
    config: ClientConfig,
    loop: asyncio.AbstractEventLoop,
    *,
    wire: str = "rpcx",
    takes_pushes: bool = False,
) -> RpcxStream:
    """Return the stream of a connection that speaks rpcx, for a transport."""
    return RpcxStream(stream, rpcx_translation(config, wire, takes_pushes=takes_pushes), loop)


def rpcx_io(io: BlockingIO, config: ClientConfig, wire: str) -> RpcxBlockingIO:
    """Return the I/O object of a blocking rpcx connection. It owns `io`, which sends and receives the bytes."""
    return RpcxBlockingIO(io, rpcx_translation(config, wire))


def rpcx_client_engine(parts: ClientParts) -> Any:
    """Make the engine of a connection: a native engine whose peer is the translation below it."""
    # No pacing: the translation passes on only whole requests. Only answers prove that the peer is alive, because other
    # frames come from the translation itself.
    return native_connection(parts, EARLY_BYTES, is_paced=False, answers_prove=True)


def _stream_layer(parts: ClientParts, stream: StreamSession) -> RpcxStream:
    assert parts.loop is not None
    return rpcx_stream(stream, parts.config, parts.loop, wire=parts.protocol.name, takes_pushes=parts.serves)


def _io_layer(parts: ClientParts, io: BlockingIO) -> RpcxBlockingIO:
    return rpcx_io(io, parts.config, parts.protocol.name)


for _name in _PROFILES:
    register(
        _name,
        client_engine=rpcx_client_engine,
        traits=ClientTraits(takes_values=True, serves=True, stream_layer=_stream_layer, io_layer=_io_layer),
    )

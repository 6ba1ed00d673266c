"""HTTP/2 on the server side: for gRPC, gRPC-Web, Connect and the HTTP gateway."""

from dataclasses import replace
from functools import lru_cache
from typing import Final

from fastrpc._core.grpc.grpc_wire import GrpcWire
from fastrpc._core.server.link import Link
from fastrpc.config.timing import Timeouts
from fastrpc.protocols.base import Match, ServerParts, linked, register, serves_pages_by_http2
from fastrpc.tls import H2_ALPN

__all__ = ["detect_http2", "grpc_engine"]

#: The start of every HTTP/2 connection (RFC 9113, section 3.4). The engine checks the rest of the preface.
_PREFACE: Final = b"PRI * HTTP/2.0"


def detect_http2(data: bytes) -> Match:
    """Return whether a connection begins with the preface of HTTP/2."""
    if data[: len(_PREFACE)] != _PREFACE[: len(data)]:
        return Match.NO
    return Match.YES if len(data) >= len(_PREFACE) else Match.MORE


def grpc_engine(parts: ServerParts) -> Link:
    """Make the engine of a connection: for calls of gRPC, for the gateway, or for both."""
    config = parts.config
    web = pages = None
    serves_grpc = "grpc" in config.protocols
    if serves_pages_by_http2(config):
        # Imported on first use, with the packages for HTTP.
        from fastrpc._core.http.http_pages import HttpPages

        assert parts.http is not None
        pages = HttpPages(parts.http, config.keepalive)
    if config.http.grpc_web or config.http.connect:
        from fastrpc._core.http.stream_request import StreamRequests

        assert parts.http is not None
        web = StreamRequests(parts.http)
    wire = GrpcWire(
        gate=parts.gate,
        keepalive=config.keepalive,
        limits=config.limits,
        memory=config.memory,
        web=web,
        pages=pages,
        serves_grpc=serves_grpc,
        proxies=parts.proxies,
    )
    if serves_grpc:
        return linked(wire, parts)
    return linked(wire, parts, timeouts=_of_pages(config.timeouts, config.http.limits.idle_seconds))


@lru_cache(maxsize=16)
def _of_pages(timeouts: Timeouts, idle_seconds: float) -> Timeouts:
    """Return the timeouts of a connection without gRPC, with the idle timeout of HTTP/1.1."""
    return replace(timeouts, idle=idle_seconds)


register("grpc", detect_http2, grpc_engine, agreed=(H2_ALPN,))

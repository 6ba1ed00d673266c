"""gRPC over HTTP/2, on the client side."""

import base64
import functools
import json
import time

from fastrpc._core.grpc.client import GrpcClient
from fastrpc._core.wire.settings import WireSettings
from fastrpc.assigned_numbers import CODECS, COMPRESSORS
from fastrpc.config import Keepalive
from fastrpc.endpoint import Address, is_encrypted, relayed_host
from fastrpc.networks import authority
from fastrpc.protocols.base import ClientParts, ClientTraits, HealthCheck, register
from fastrpc.tls import H2_ALPN

__all__ = ["authority_of", "grpc_client_engine", "ping_interval", "validity"]

#: The codecs and compressors of this wire.
_CODECS = ("raw", "json", "protobuf")
_COMPRESSORS = ("gzip", "deflate")

#: The length in front of a message has 32 bits; servers announce no lower limit.
_MOST_MESSAGE = 2**32 - 1
_MOST_METADATA = 65_535

#: Servers of gRPC drop clients that send more pings than one in five minutes, unless they are set up otherwise.
_RARE_PINGS = 300.0

#: A server says nothing about its workers: calls that wait for a stream open further connections, up to this number.
_MOST_CONNECTIONS = 8


@functools.cache
def _every_server() -> WireSettings:
    """Return the limits and numbers of a server of gRPC that are the same for all servers."""
    settings = WireSettings(True)
    settings.max_message = _MOST_MESSAGE
    settings.max_metadata = _MOST_METADATA
    settings.codecs = {CODECS[name]: name for name in _CODECS}
    settings.compressors = {COMPRESSORS[name]: name for name in _COMPRESSORS}
    settings.workers = _MOST_CONNECTIONS
    return settings


def _server_of_threads() -> WireSettings:
    """Return the same for a connection of threads, which adds connections only when a call waits for a stream."""
    settings = _every_server().copy()
    settings.workers = 1
    return settings


def validity(token: bytes) -> float:
    """Return the validity of a token in seconds, as a JWT states it; 0 for others, as gRPC servers report none."""
    pieces = token.split(b".")
    if len(pieces) != 3:
        return 0.0
    try:
        claims = json.loads(base64.urlsafe_b64decode(pieces[1] + b"=" * (-len(pieces[1]) % 4)))
        return max(0.0, float(claims["exp"]) - time.time())
    except (ValueError, TypeError, KeyError):
        return 0.0


def authority_of(address: Address) -> str:
    """Return the name of a server for requests."""
    if not address.port:
        return "localhost"
    if address.scheme == "relay":
        return f"{relayed_host(address)}:{address.port}"
    return authority(address.host, address.port)


def ping_interval(keepalive: Keepalive, factor: int = 1) -> float:
    """Return the seconds of silence after which a server with a call under way is pinged; 0: never."""
    if keepalive.interval is None:
        return 0.0
    return factor * (_RARE_PINGS if keepalive.interval == Keepalive().interval else keepalive.interval)


#: grpc.health.v1.HealthCheckResponse.ServingStatus.
_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def _health_question(service: str) -> bytes:
    """Return a grpc.health.v1.HealthCheckRequest, whose one field is the name of a service."""
    name = service.encode()
    # The length is one byte up to 127, else two: names are short.
    length = bytes((len(name),)) if len(name) < 128 else bytes((len(name) & 127 | 128, len(name) >> 7))
    return b"\x0a" + length + name if name else b""


def _health_verdict(answer: bytes) -> str:
    """Return the status in a grpc.health.v1.HealthCheckResponse, whose one field it is."""
    number = answer[1] if answer[:1] == b"\x08" and len(answer) > 1 else 0
    return _SERVING[number] if number < len(_SERVING) else str(number)


def grpc_client_engine(parts: ClientParts) -> GrpcClient:
    """Make the engine of a connection."""
    address = parts.endpoint.address
    return GrpcClient(
        parts,
        scheme="https" if is_encrypted(address) else "http",
        authority=authority_of(address),
        # Threads get a copy: their number of connections depends on waiting calls (`GrpcClient`).
        peer=_every_server() if parts.loop is not None else _server_of_threads(),
        ping_interval=ping_interval(parts.config.keepalive, parts.ping_factor),
        validity=validity,
    )


register(
    "grpc",
    client_engine=grpc_client_engine,
    agreed=(H2_ALPN,),
    traits=ClientTraits(
        takes_messages=True,
        has_streams=True,
        compressors=_COMPRESSORS,
        health=HealthCheck(
            method="grpc.health.v1.Health.Check",
            codec="raw",
            question=_health_question,
            verdict=_health_verdict,
        ),
    ),
)

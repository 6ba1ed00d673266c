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

#: The most bytes of a message: its length prefix has 32 bits, and servers announce no lower limit.
_MOST_MESSAGE = 2**32 - 1
_MOST_METADATA = 65_535

#: The default seconds between pings: by default gRPC servers close connections of clients that send more than one ping
#: in five minutes.
_RARE_PINGS = 300.0

#: The most connections of a client to a server. A gRPC server does not announce how many worker processes it has, so
#: the client opens another connection when a call waits for a stream.
_MOST_CONNECTIONS = 8


@functools.cache
def _every_server() -> WireSettings:
    """Return the limits and numbers of a gRPC server, which are the same for all servers."""
    settings = WireSettings(True)
    settings.max_message = _MOST_MESSAGE
    settings.max_metadata = _MOST_METADATA
    settings.codecs = {CODECS[name]: name for name in _CODECS}
    settings.compressors = {COMPRESSORS[name]: name for name in _COMPRESSORS}
    settings.workers = _MOST_CONNECTIONS
    return settings


def _server_of_threads() -> WireSettings:
    """Return the limits of a gRPC server for a client of threads, which opens more connections only if calls wait."""
    settings = _every_server().copy()
    settings.workers = 1
    return settings


def validity(token: bytes) -> float:
    """Return the validity of a JWT in seconds; 0 for another token, as gRPC servers do not report the validity."""
    pieces = token.split(b".")
    if len(pieces) != 3:
        return 0.0
    try:
        claims = json.loads(base64.urlsafe_b64decode(pieces[1] + b"=" * (-len(pieces[1]) % 4)))
        return max(0.0, float(claims["exp"]) - time.time())
    except (ValueError, TypeError, KeyError):
        return 0.0


def authority_of(address: Address) -> str:
    """Return the value of `:authority` in requests to a server."""
    if not address.port:
        return "localhost"
    if address.scheme == "relay":
        return f"{relayed_host(address)}:{address.port}"
    return authority(address.host, address.port)


def ping_interval(keepalive: Keepalive, factor: int = 1) -> float:
    """Return the seconds without data after which a server is pinged while a call runs; 0: never."""
    if keepalive.interval is None:
        return 0.0
    return factor * (_RARE_PINGS if keepalive.interval == Keepalive().interval else keepalive.interval)


#: The names of grpc.health.v1.HealthCheckResponse.ServingStatus, by number.
_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def _health_question(service: str) -> bytes:
    """Return an encoded grpc.health.v1.HealthCheckRequest, whose only field is the name of a service."""
    name = service.encode()
    # The varint of the length: one byte up to 127, else two. Names are never longer.
    length = bytes((len(name),)) if len(name) < 128 else bytes((len(name) & 127 | 128, len(name) >> 7))
    return b"\x0a" + length + name if name else b""


def _health_verdict(answer: bytes) -> str:
    """Return the only field of a grpc.health.v1.HealthCheckResponse, the status."""
    number = answer[1] if answer[:1] == b"\x08" and len(answer) > 1 else 0
    return _SERVING[number] if number < len(_SERVING) else str(number)


def grpc_client_engine(parts: ClientParts) -> GrpcClient:
    """Make the engine of a connection."""
    address = parts.endpoint.address
    return GrpcClient(
        parts,
        scheme="https" if is_encrypted(address) else "http",
        authority=authority_of(address),
        # Threads get a separate object, because their number of connections changes with waiting calls (`GrpcClient`).
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

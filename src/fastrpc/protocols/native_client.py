"""The native protocol of PROTOCOL.md, on the client side."""

from typing import Any

from fastrpc._core.client.client_connection import ClientConnection
from fastrpc.endpoint import is_encrypted
from fastrpc.protocols.base import ClientParts, ClientTraits, register
from fastrpc.tls import ALPN

__all__ = ["EARLY_BYTES", "native_client_engine", "native_connection"]

#: The most bytes of requests that wait for the end of a loop iteration. Beyond this they are sent immediately:
#: otherwise the client would write all requests of an iteration before its server gets the first, and be idle while the
#: server handles them.
EARLY_BYTES = 1_024


def native_client_engine(parts: ClientParts) -> ClientConnection:
    """Make the engine of a connection."""
    # With TLS all short requests wait for the end of the loop iteration, so that they need few TLS records.
    return native_connection(parts, 0 if is_encrypted(parts.endpoint.address) else EARLY_BYTES)


def native_connection(parts: ClientParts, early_bytes: int, **options: Any) -> ClientConnection:
    """Make a native connection, on a loop or for threads; a translation may be below it."""
    config = parts.config
    if parts.loop is not None:
        options |= {"early_bytes": early_bytes, "stream_pool": config.memory.stream_pool}
    return ClientConnection(
        endpoint=parts.endpoint,
        owner=parts.owner,
        loop=parts.loop,
        timeouts=parts.timeouts,
        keepalive=config.keepalive,
        settings=parts.settings,
        early_calls=config.early_calls,
        credential=parts.credential,
        protocol=parts.protocol,
        **options,
    )


register(
    "native",
    client_engine=native_client_engine,
    agreed=(ALPN,),
    traits=ClientTraits(has_streams=True, serves=True),
)

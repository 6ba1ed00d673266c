"""The native protocol of PROTOCOL.md, on the client side."""

from typing import Any

from fastrpc._core.client.blocking_connection import BlockingConnection
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc.endpoint import is_encrypted
from fastrpc.protocols.base import ClientParts, ClientTraits, register
from fastrpc.tls import ALPN

__all__ = ["EARLY_BYTES", "native_client_engine", "native_connection"]

#: Bytes of short requests that wait for the end of a turn of the loop; more are sent at once. Otherwise the client
#: would write all requests of a turn before its server sees the first one, and sleep while the server handles them.
EARLY_BYTES = 1_024


def native_client_engine(parts: ClientParts) -> ClientConnection | BlockingConnection:
    """Make the engine of a connection."""
    # Under TLS all short requests of a turn wait for its end: they are sent in few records.
    return native_connection(parts, 0 if is_encrypted(parts.endpoint.address) else EARLY_BYTES)


def native_connection(
    parts: ClientParts, early_bytes: int, **options: Any
) -> ClientConnection | BlockingConnection:
    """Make a native connection, on a loop or for threads; a translation may be below it."""
    config = parts.config
    shared: dict[str, Any] = {
        "endpoint": parts.endpoint,
        "timeouts": parts.timeouts,
        "keepalive": config.keepalive,
        "settings": parts.settings,
        "early_calls": config.early_calls,
        "credential": parts.credential,
        "protocol": parts.protocol,
        **options,
    }
    if parts.loop is None:
        return BlockingConnection(**shared)
    return ClientConnection(
        owner=parts.owner,
        loop=parts.loop,
        early_bytes=early_bytes,
        stream_pool=config.memory.stream_pool,
        **shared,
    )


register(
    "native",
    client_engine=native_client_engine,
    agreed=(ALPN,),
    traits=ClientTraits(has_streams=True, serves=True),
)

"""The wire protocol of a connection: that of the client's settings, else one that the endpoint's record lists."""

from fastrpc.config import ClientConfig
from fastrpc.endpoint import Endpoint

__all__ = ["carries_streams", "early_bytes_on", "wire_of"]

#: What is spoken with an endpoint whose record lists several.
_PREFERRED = ("native", "rpcx", "phobos")

#: A client would else write all requests of a turn before its server sees the first one, and sleep while that handles
#: them.
_EARLY_BYTES = 1_024


def wire_of(endpoint: Endpoint, config: ClientConfig) -> str:
    """Return the protocol of connections to an endpoint: the native one, if nobody says that it is not spoken there."""
    if config.wire_protocol is not None:
        return config.wire_protocol
    return next((wire for wire in _PREFERRED if wire in endpoint.protocols), "native")


def carries_streams(endpoint: Endpoint, config: ClientConfig) -> bool:
    """Return whether streams can go to an endpoint: rpcx and Phobos have none."""
    return wire_of(endpoint, config) == "native"


def early_bytes_on(wire: str, endpoint: Endpoint) -> int:
    """Return how many bytes of short requests wait for the end of a turn of the loop; 0: all do, in few TLS records."""
    return 0 if wire == "native" and endpoint.address.scheme == "tls" else _EARLY_BYTES

"""The wire protocol of a connection: that of the client's settings, else one that the endpoint's record lists."""

from fastrpc.config import ClientConfig
from fastrpc.endpoint import Endpoint

__all__ = ["wire_of"]


def wire_of(endpoint: Endpoint, config: ClientConfig) -> str:
    """Return the protocol of connections to an endpoint: the native one, if nobody says that it is not spoken there."""
    if config.wire_protocol is not None:
        return config.wire_protocol
    spoken = endpoint.protocols
    return "rpcx" if "rpcx" in spoken and "native" not in spoken else "native"

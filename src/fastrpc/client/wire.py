"""The wire protocol of a connection: what a client speaks with an endpoint."""

from fastrpc.config import ClientConfig
from fastrpc.endpoint import Endpoint

__all__ = ["wire_of"]


def wire_of(endpoint: Endpoint, config: ClientConfig) -> str:
    """Return the protocol of connections to an endpoint."""
    return config.wire_protocol

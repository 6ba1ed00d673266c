"""The wire protocol of a connection: that of the client's settings, else one that the endpoint's record lists."""

from fastrpc.config import ClientConfig
from fastrpc.config.validation import WIRE_PROTOCOLS
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import Protocol, client_protocol

__all__ = ["carries_streams", "protocol_of", "wire_of"]


def wire_of(endpoint: Endpoint, config: ClientConfig) -> str:
    """Return the name of the protocol of connections to an endpoint: the first, unless its record lists others."""
    if config.wire_protocol is not None:
        return config.wire_protocol
    return next((wire for wire in WIRE_PROTOCOLS if wire in endpoint.protocols), WIRE_PROTOCOLS[0])


def protocol_of(endpoint: Endpoint, config: ClientConfig) -> Protocol:
    """Return the protocol of connections to an endpoint."""
    return client_protocol(wire_of(endpoint, config))


def carries_streams(endpoint: Endpoint, config: ClientConfig) -> bool:
    """Return whether streams can go to an endpoint: rpcx and Phobos have no streams."""
    return protocol_of(endpoint, config).traits.has_streams

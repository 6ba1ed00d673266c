"""Connect without an event loop, for the blocking client."""

from typing import cast

from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.transports.base import BlockingTransport, DialOptions, transport_for

__all__ = ["connect"]


def connect(address: Address, timeout: float | None, options: DialOptions) -> BlockingIO:
    """Connect to an address and return an I/O object that the caller owns.

    `memory://` works from any thread except the listener's own, whose loop has to run to accept.

    Raises:
        ConnectError: no connection within `timeout` seconds (None: no limit); the message names the address and the
            system's error.
        ConfigError: no transport has the scheme, or it needs an event loop.
    """
    transport = transport_for(address)
    if not hasattr(transport, "connect"):
        raise ConfigError(
            f"{address}: the transport {transport.scheme!r} needs an event loop", hint="use Client for it"
        )
    return cast(BlockingTransport, transport).connect(address, timeout, options)

"""Connect without an event loop, for the blocking client."""

from typing import cast

from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.transports.base import BlockingTransport, DialOptions, transport_for

__all__ = ["connect"]


def connect(address: Address, timeout: float | None, options: DialOptions) -> BlockingIO:
    """Connect to an address and return what is read and written there; the caller owns it.

    `memory://` works from any thread but the listener's own, which has to run to serve it.

    Raises:
        ConnectError: no connection within `timeout` seconds (None: no limit); it names the address and the
            system's error.
        ConfigError: nobody serves the scheme, or not without an event loop.
    """
    transport = transport_for(address)
    if not hasattr(transport, "connect"):
        raise ConfigError(
            f"{address}: the transport {transport.scheme!r} needs an event loop", hint="use Client for it"
        )
    return cast(BlockingTransport, transport).connect(address, timeout, options)

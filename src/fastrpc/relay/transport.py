"""`relay://host:port/NAME`: the server that claimed a name at a relay.

A client dials the relay under the host name `NAME.host`; TLS is end to end with the server. A server dials the relay,
and listens through it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from fastrpc.config import TLS
from fastrpc.endpoint import Address, relayed_host
from fastrpc.errors import ConfigError
from fastrpc.transports.base import DialOptions, Listener, ListenOptions, SessionFactory
from fastrpc.transports.tcp import ENCRYPTED

if TYPE_CHECKING:
    from fastrpc._core.io.blocking_io import BlockingIO

__all__ = ["TRANSPORT", "RelayTransport"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)


class RelayTransport:
    """Dials and listens through a relay."""

    scheme: Final = "relay"

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect to the server of a name."""
        return await ENCRYPTED.dial(address, session_factory, _named(address, options))

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> "BlockingIO":
        """Connect without an event loop."""
        return ENCRYPTED.connect(address, timeout, _named(address, options))

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> Listener:
        """Claim a name, and make a session for each caller.

        If the relay is unreachable, return, and keep trying in the background.
        """
        # Imported here: a client needs no server.
        from fastrpc.relay.listener import RelayListener

        listener = RelayListener(address, session_factory, options)
        await listener.open()
        return listener


def _named(address: Address, options: DialOptions) -> DialOptions:
    """Return the options with the host name of the server, which the relay reads in the ClientHello."""
    host, tls = relayed_host(address), options.tls or TLS()
    if tls.server_name not in (None, host):
        raise ConfigError(
            f"server_name is {tls.server_name!r}, and the relay finds the server by {host!r}",
            hint="leave server_name out, and give the server a certificate for that name",
        )
    return replace(options, tls=replace(tls, server_name=host))


TRANSPORT = RelayTransport()

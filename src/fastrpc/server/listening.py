"""Open, register and close the addresses at which a server listens."""

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fastrpc.config import TLS, ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.server.accepting import Accepting
from fastrpc.server.encryption import check_listening
from fastrpc.server.inherited import inherited_address, is_inherited, take_inherited
from fastrpc.server.offer import Offer
from fastrpc.transports.base import Listener, drain_listeners, reload_listeners

if TYPE_CHECKING:
    from fastrpc.server.registrar import Advertise

__all__ = ["Listening", "WantedAddress"]


class WantedAddress(NamedTuple):
    """A checked address at which the server is to listen."""

    #: `named`: the given address. `real`: the real address, which differs for an inherited socket.
    named: Address
    real: Address
    advertise: "Advertise"
    #: The bound socket that was given with the address, or None.
    bound: socket.socket | None
    #: The certificates; None means the server's certificates.
    tls: TLS | None = None


class Listening:
    """Opens the listeners of a server, and closes them all together."""

    def __init__(self, config: ServerConfig, accepting: Accepting, offer: Offer) -> None:
        self._config = config
        self._accepting = accepting
        self._offer = offer
        #: The listeners. They stay in this list after the server has stopped accepting.
        self.listeners: list[Listener] = []
        # Addresses that were opened before the server had a registry. The first `any://` creates one and registers
        # them.
        self._unlisted: list[tuple[Address, Advertise]] = []
        #: True if the server has stopped accepting.
        self.is_shut = False

    def wanted(
        self,
        address: str | Address,
        advertise: "Advertise",
        bound: socket.socket | None,
        allow_plain: bool,
        *,
        tls: TLS | None = None,
    ) -> WantedAddress:
        """Return an address after checking that the server may listen there.

        Args:
            tls: the certificates of the listener; None means the server's certificates.

        Raises:
            ConfigError: the address is invalid, or certificates are missing for it.
        """
        named = real = Address.parse(address)
        if is_inherited(named):
            if bound is not None:
                raise ConfigError(
                    f"{named} names a socket, and another one is given", hint="leave out socket="
                )
            is_encrypted = self._config.tls is not None and not allow_plain
            real = inherited_address(named, is_encrypted=is_encrypted)
        if tls is None:
            check_listening(real, self._config, allow_plain=allow_plain)
        return WantedAddress(named, real, self._accepting.advertise(real, advertise), bound, tls)

    @staticmethod
    def refuse_options(scopes: Address, **given: bool) -> None:
        """Refuse options for a single address if the address means all scopes.

        Args:
            given: by option name, True if the option is given.

        Raises:
            ConfigError: an option is given.
        """
        for name, is_given in given.items():
            if is_given:
                raise ConfigError(
                    f"{scopes} has its own addresses, and {name} is given", hint=f"leave {name} out"
                )

    async def open(
        self, wanted: Sequence[WantedAddress], *, backlog: int, reuse_port: bool, check: Callable[[], None]
    ) -> list[Address]:
        """Listen at addresses and register them, all or none; return the bound addresses.

        Args:
            check: raises an error if the server no longer accepts connections.

        Raises:
            OSError: an address is not available; the message names the address.
        """
        opened: list[Listener] = []
        try:
            for one in wanted:
                bound = take_inherited(one.named) if is_inherited(one.named) else one.bound
                listener = await self._accepting.listen(
                    one.real, backlog=backlog, reuse_port=reuse_port, bound=bound, tls=one.tls
                )
                opened.append(listener)
                self.listeners.append(listener)
                # If the server was drained while the address was being bound, the drain did not close this listener.
                check()
            places = [(listener.address, one.advertise) for listener, one in zip(opened, wanted, strict=True)]
            if self._offer.advertising is None:
                self._unlisted += places
            else:
                await self._offer.advertising.add([*self._unlisted, *places])
                self._unlisted.clear()
        except BaseException:
            for listener in opened:
                self.listeners.remove(listener)
                listener.close()
            raise
        return [listener.address for listener in opened]

    def reload(self) -> None:
        """Read the certificate files again now."""
        reload_listeners(self.listeners)

    async def drain(self) -> None:
        """Accept the connections that are waiting, then stop accepting."""
        drain_listeners(self.listeners)
        await self.shut()

    async def shut(self) -> None:
        """Stop accepting; return when every accepted connection has a session or another object that reads it."""
        self.is_shut = True
        for listener in self.listeners:
            listener.close()
        for listener in self.listeners:
            await listener.wait_closed()

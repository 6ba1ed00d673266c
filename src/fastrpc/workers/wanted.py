"""The sockets that a program with several processes needs."""

from typing import TYPE_CHECKING, NamedTuple, Self

from fastrpc.config import TLS
from fastrpc.endpoint import Address

if TYPE_CHECKING:
    from fastrpc.server.registrar import Advertise

__all__ = ["WantedSocket"]


class WantedSocket(NamedTuple):
    """An address to listen at."""

    #: The address in the form that a takeover compares. An `any://` address has exactly one scope in this form.
    named: Address
    #: The address at which to bind a new socket.
    place: Address
    advertise: "Advertise" = None
    #: The certificates of its connections; None: the server's.
    tls: TLS | None = None

    @classmethod
    def at(cls, address: Address, advertise: "Advertise" = None) -> Self:
        """Return the wanted socket for an address other than `any://`."""
        return cls(address, address, advertise)

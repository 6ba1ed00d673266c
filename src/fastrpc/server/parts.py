"""The parts of a server, whose modules the first one of a program imports."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastrpc._core.loop.polling import allowed_spin
from fastrpc.config import ServerConfig
from fastrpc.handlers.auth.access_options import Authenticate, Authorize
from fastrpc.handlers.life import Life
from fastrpc.handlers.services import ServiceTable
from fastrpc.limits import Limit, checked_limits
from fastrpc.peers.peer_client import PeerCalling
from fastrpc.place import Place, checked_place
from fastrpc.rpc.interceptor import Interceptor, checked_interceptors
from fastrpc.rpc.wire_numbers import numbers_of
from fastrpc.server.accepting import Accepting
from fastrpc.server.access import ServerAccess
from fastrpc.server.admin.opening import Admin
from fastrpc.server.ending import Ending
from fastrpc.server.listening import Listening
from fastrpc.server.offer import Offer
from fastrpc.server.ownership import Ownership
from fastrpc.server.settings import checked_config

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption

__all__ = ["ServerParts"]

#: The frames between a warning of the constructor and the program: `Server` and the check of its arguments.
_STACK_LEVEL = 4


class ServerParts:
    """The parts of one server; the arguments are those of `Server`."""

    def __init__(
        self,
        config: ServerConfig | None,
        interceptors: Sequence[Interceptor],
        registry: "RegistryOption | None",
        authenticate: Authenticate | None,
        authorize: Authorize | None,
        limits: Sequence[Limit],
        place: Place | None,
        store: str | None,
    ) -> None:
        self.access = ServerAccess(authenticate, authorize)
        self.config = config = checked_config(config)
        self.admin = Admin(config, has_registry=registry is not None)
        interceptors = checked_interceptors(interceptors)
        self.life = Life()
        self.ownership = Ownership()
        numbers = numbers_of(config.codecs)
        bounds = checked_limits(limits, has_identities=authenticate is not None)
        self.served = ServiceTable(
            config, interceptors, numbers, self.life, PeerCalling(config, numbers), limits=bounds
        )
        spin = allowed_spin(config.spin_microseconds, stacklevel=_STACK_LEVEL)
        self.accepting = Accepting(config, numbers, self.access.schemes, spin)
        self.offer = Offer(config, self.served, self.access, self.accepting, store)
        self.listening = Listening(config, self.accepting, self.offer)
        self.ending = Ending(
            config, self.served, self.offer, self.accepting, self.listening, self.access, self.admin
        )
        if place is not None or registry is not None:
            place = checked_place(place)
        if place is not None and registry is not None:
            self.offer.advertise_in(registry, place)

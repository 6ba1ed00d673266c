"""The parts of a server. Their modules are imported with the first server of a program."""

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastrpc._core.loop.loop_state import no_loop, wrong_loop
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
from fastrpc.server.background.work import ServerResources
from fastrpc.server.ending import Ending
from fastrpc.server.listening import Listening
from fastrpc.server.offer import Offer
from fastrpc.server.settings import checked_config

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption

__all__ = ["Ownership", "ServerAssembly"]

#: The stack level for warnings of the constructor: skips the frames of `Server` and of the check of its arguments.
_STACK_LEVEL = 4


class ServerAssembly:
    """The parts of one server. The arguments are the arguments of `Server`."""

    def __init__(
        self,
        config: ServerConfig | None,
        interceptors: Sequence[Interceptor],
        registry: "RegistryOption | None",
        authenticate: Authenticate | None,
        authorize: Authorize | None,
        limits: Sequence[Limit],
        place: Place | None,
        resources: ServerResources,
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
        self.offer = Offer(config, self.served, self.access, self.accepting, resources)
        self.offer.admin_address = lambda: self.admin.address
        self.listening = Listening(config, self.accepting, self.offer)
        self.ending = Ending(
            config, self.served, self.offer, self.accepting, self.listening, self.access, self.admin
        )
        if place is not None or registry is not None:
            place = self.offer.place = checked_place(place)
        if place is not None and registry is not None:
            self.offer.advertise_in(registry, place)


class Ownership:
    """Detects use of a server outside the process and loop in which it was started."""

    def __init__(self) -> None:
        # The ID of the process of the last start; 0 before the first start.
        self._process_id = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self) -> None:
        """Bind the server to this process and to the running loop."""
        self._process_id, self._loop = os.getpid(), asyncio.get_running_loop()

    @property
    def is_of_this_process(self) -> bool:
        """True if the server was started in this process."""
        return self._process_id == os.getpid()

    @property
    def is_of_parent(self) -> bool:
        """True if the server was started before a fork, so that sockets and loop belong to the parent."""
        return self._process_id not in (0, os.getpid())

    def check_process(self) -> None:
        """Raise RuntimeError after a fork."""
        if self.is_of_parent:
            raise RuntimeError("this Server was used before the fork; create it in the child")

    def check_use(self, *, is_started: bool) -> None:
        """Raise RuntimeError without a running loop, after a fork, or on another loop than at the start."""
        self.check_process()
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise no_loop("Server") from None
        if is_started and self._loop is not None and self._loop is not running:
            raise wrong_loop("Server", self._loop, running)

"""All listening sockets of a supervisor: new ones, or taken over from the previous program; passed on to the next."""

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fastrpc.endpoint import Address
from fastrpc.server.admin.opening import check_admin
from fastrpc.workers.acceptor import Acceptor
from fastrpc.workers.plan import Plan
from fastrpc.workers.takeover.control import Control
from fastrpc.workers.takeover.takeover import Takeover
from fastrpc.workers.wanted import WantedSocket

__all__ = ["Listeners"]


class Listeners:
    """The sockets of the services, of the admin pages, and the control socket.

    Args:
        environment: returns the service manager's variables, for a program that replaces this program.
    """

    def __init__(
        self, plan: Plan, clock: Callable[[], float], environment: Callable[[], Mapping[str, str]]
    ) -> None:
        self.services: Acceptor
        self.admin: Acceptor | None = None
        #: The socket through which another program can take over from this program.
        self.control: Control | None = None
        self._plan = plan
        self._clock = clock
        self._environment = environment
        #: The connection to the program that this program replaces.
        self._takeover: Takeover | None = None
        self._ends = contextlib.ExitStack()

    def bind(self) -> None:
        """Bind all addresses, or take over their sockets from the previous program. `close` must be called at the end.

        Raises:
            OSError: an address is unavailable.
            ConfigError: a setting is invalid, or the other program refuses the takeover.
        """
        plan, config, taken = self._plan, self._plan.config, None
        if plan.takeover and plan.control is not None:
            taken = self._takeover = Takeover(plan.control)
            self._ends.callback(taken.close)
        self._check_admin(taken)
        self.services = Acceptor(plan.wanted, config, taken)
        self._ends.callback(self.services.close)
        if config.admin_address is not None:
            self.admin = Acceptor([WantedSocket.at(Address.parse(config.admin_address))], config, taken)
            self._ends.callback(self.admin.close)
        if plan.control is not None:
            bound = None if taken is None else taken.control
            self.control = Control(plan.control, bound, self._offer, self._clock)
            self._ends.callback(self.control.close)
        if taken is not None:
            taken.let_go()

    def _check_admin(self, taken: Takeover | None) -> None:
        config = self._plan.config
        if taken is not None and config.admin_address is not None:
            real = taken.address_of(Address.parse(config.admin_address))
            if real is not None and Address.parse(config.admin_address).scheme == "fd":
                # `fd://` names a socket that the parent of a program passed. This socket came from the previous
                # program.
                config = replace(config, admin_address=str(real))
        check_admin(config, has_registry=self._plan.registry is not None)

    def close(self) -> None:
        """Close all bound sockets."""
        self._ends.close()

    def abandon(self, *, keeps_admin: bool) -> None:
        """Close a new process's copies of the sockets. The monitor keeps the sockets of the admin pages."""
        self.services.abandon()
        if self.admin is not None and not keeps_admin:
            self.admin.abandon()
        if self._takeover is not None:
            self._takeover.close()
        if self.control is not None:
            self.control.abandon()

    # Taking over from another program

    @property
    def are_taken(self) -> bool:
        """Whether the sockets were taken over from another program."""
        return self._takeover is not None

    @property
    def taken_environment(self) -> Mapping[str, str]:
        """The service manager's variables of the previous program."""
        return {} if self._takeover is None else self._takeover.environment

    def conclude_takeover(self) -> None:
        """Notify the previous program that this program serves. Return when the previous one drains or has ended.

        Raises:
            ConfigError: the previous program stops for another reason, and keeps its addresses.
        """
        assert self._takeover is not None
        self._takeover.conclude()

    def own(self) -> None:
        """From now on remove the sockets' files at the end, which the previous program will not do any more."""
        self.services.own()
        if self.admin is not None:
            self.admin.own()

    def _offer(self) -> tuple[dict[str, Any], list[socket.socket]]:
        """Return the description and the sockets for a program that replaces this program."""
        shares = self.services.shares()
        if self.admin is not None:
            shares += self.admin.shares()
        sockets = [one for _, bound in shares for one in bound]
        told = {"listeners": [told for told, _ in shares], "environment": self._environment()}
        return told, sockets

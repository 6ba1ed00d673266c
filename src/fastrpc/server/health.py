"""Health: the state of a server's services, and `fastrpc.health`, which reports it."""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from fastrpc._core.calls.call import current_call
from fastrpc.errors import ConfigError
from fastrpc.rpc.description import nearest_name
from fastrpc.rpc.service import method, service
from fastrpc.server.wakeup import Watchers, ended_by_drain

__all__ = ["Health", "ServingState"]


class ServingState:
    """The health of a server and of its services.

    Args:
        names: returns the names of all services.
    """

    def __init__(self, names: Callable[[], Collection[str]]) -> None:
        self._names = names
        # Services that report NOT_SERVING; "" is the whole server.
        self._paused: set[str] = set()
        self.is_draining = False
        self.watchers = Watchers()

    def check_name(self, service: str) -> None:
        """Refuse the name of a service that the server does not have; "" is the whole server.

        Raises:
            ConfigError: there is no such service.
        """
        names = self._names()
        if service and service not in names:
            near = nearest_name(service, names)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
            raise ConfigError(f"this server has no service {service!r}", hint=hint)

    def set(self, serving: bool, service: str) -> None:
        """Set the health of a service, or of the whole server for ""."""
        (self._paused.discard if serving else self._paused.add)(service)
        self.watchers.wake()

    def drain(self) -> None:
        """Report NOT_SERVING from now on."""
        self.is_draining = True
        self.watchers.wake()

    def is_serving(self, service: str) -> bool:
        """Return whether a service serves."""
        return not (self.is_draining or "" in self._paused or service in self._paused)

    def of(self, service: str) -> str:
        """Return the state of a service in the words of gRPC's health protocol; "" is the whole server."""
        if service and service not in self._names():
            return "SERVICE_UNKNOWN"
        return "SERVING" if self.is_serving(service) else "NOT_SERVING"


@service("fastrpc.health")
class Health:
    """Report whether a server or one of its services serves, in the words of gRPC's health protocol."""

    def __init__(self, state: ServingState) -> None:
        self._state = state

    @method(idempotent=True)
    async def check(self, service: str = "") -> str:
        """Return SERVING, NOT_SERVING or SERVICE_UNKNOWN; an empty name asks for the whole server."""
        connection: Any = getattr(current_call(), "connection", None)
        if connection is not None:
            connection.note_probe()
        return self._state.of(service)

    @method(idempotent=True)
    async def watch(self, service: str = "") -> AsyncIterator[str]:
        """Yield the state that `check` returns, at once, then each new one, until the server drains.

        A late reader gets only the latest state. A drain is NOT_SERVING, then the end with UNAVAILABLE.
        """
        told = ""
        with self._state.watchers.watching() as wakeup:
            while True:
                state = self._state.of(service)
                if state != told:
                    told = state
                    yield state
                elif wakeup.is_draining:
                    raise ended_by_drain()
                else:
                    await wakeup.wait()

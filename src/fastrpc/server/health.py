"""The health of a server's services, and the service `fastrpc.health`, which reports it."""

import enum
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

from fastrpc._core.calls.call import current_call
from fastrpc.errors import CallError, ConfigError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import BUILTIN_PREFIX, service
from fastrpc.server.wakeup import Watchers, ended_by_drain
from fastrpc.status import Status

__all__ = ["GRPC_HEALTH", "GrpcHealth", "Health", "HealthSource", "ServingState", "ServingStatus"]

#: The name of the health service in gRPC.
GRPC_HEALTH: Final = "grpc.health.v1.Health"


class ServingState:
    """The health of a server and of its services.

    Args:
        services: returns the current services of the server.
    """

    def __init__(self, services: Callable[[], Sequence[ServiceDefinition]]) -> None:
        self._services = services
        # Services that report NOT_SERVING; "" is the whole server.
        self._paused: set[str] = set()
        # Services that are being removed.
        self._leaving: set[str] = set()
        self.is_draining = False
        self.watchers = Watchers()

    def _names(self) -> dict[str, str]:
        """Return all names of services, mapped to the canonical name."""
        return {name: one.name for one in self._services() for name in one.names.of_service()}

    def removable(self, service: str) -> str:
        """Return the canonical name of a service that can be removed.

        Raises:
            ConfigError: the service does not exist, is part of every server, or is being removed already.
        """
        if not isinstance(service, str) or not service:
            raise ConfigError(f"the service is {service!r}, it must be a name")
        self.check_name(service)
        name = self._names()[service]
        if name.startswith(BUILTIN_PREFIX):
            raise ConfigError(f"{service!r} is a service that every server has")
        if name in self._leaving:
            raise ConfigError(f"the service {service!r} is being removed already")
        return name

    @contextmanager
    def removing(self, service: str) -> Iterator[None]:
        """Report a service as not serving until the block ends, then forget the health that `set` gave it."""
        self._leaving.add(service)
        self.watchers.wake()
        try:
            yield
            self._paused.discard(service)
        finally:
            self._leaving.discard(service)
            self.watchers.wake()

    def check_name(self, service: str) -> None:
        """Refuse the name of a service that the server does not have; "" is the whole server.

        Raises:
            ConfigError: there is no such service.
        """
        names = self._names()
        if service and service not in names:
            # Imported on first use, because it also imports the description of types.
            from fastrpc.rpc.description import nearest_name

            near = nearest_name(service, names)
            hint = (
                f"did you mean {near!r}?" if near else f"there are {', '.join(dict.fromkeys(names.values()))}"
            )
            raise ConfigError(f"this server has no service {service!r}", hint=hint)

    def set(self, serving: bool, service: str) -> None:
        """Set the health of a service, or of the whole server for ""."""
        (self._paused.discard if serving else self._paused.add)(self._names().get(service, service))
        self.watchers.wake()

    def drain(self) -> None:
        """Report NOT_SERVING from now on."""
        self.is_draining = True
        self.watchers.wake()

    def is_serving(self, service: str) -> bool:
        """Return whether a service serves."""
        is_paused = "" in self._paused or service in self._paused
        return not (self.is_draining or is_paused or service in self._leaving)

    def of(self, service: str) -> str:
        """Return the state of a service as in gRPC's health protocol; "" is the whole server."""
        name = self._names().get(service) if service else ""
        if name is None:
            return "SERVICE_UNKNOWN"
        return "SERVING" if self.is_serving(name) else "NOT_SERVING"


class HealthSource:
    """Base of a service that may become unable to serve while its server keeps running."""

    _is_serving = True
    _tell: Callable[[bool], None] | None = None

    def tell_health(self, tell: Callable[[bool], None]) -> None:
        """Set the function of the server to call at each change. Call it now if the service does not serve."""
        self._tell = tell
        if not self._is_serving:
            tell(False)

    def set_serving(self, serving: bool) -> None:
        """Tell the server whether the service serves."""
        self._is_serving = serving
        if self._tell is not None:
            self._tell(serving)


@service("fastrpc.health")
class Health:
    """Report whether a server or one of its services is serving, in the terms of gRPC's health protocol."""

    def __init__(self, state: ServingState) -> None:
        self._state = state

    @method(idempotent=True)
    async def check(self, service: str = "") -> str:
        """Return SERVING, NOT_SERVING or SERVICE_UNKNOWN. An empty name means the whole server."""
        connection: Any = getattr(current_call(), "connection", None)
        if connection is not None:
            connection.note_probe()
        return self._state.of(service)

    @method(idempotent=True)
    async def watch(self, service: str = "") -> AsyncIterator[str]:
        """Yield the state that `check` returns, immediately and after each change, until the server drains.

        A slow reader gets only the latest state. During a drain the state is NOT_SERVING, and the stream ends with
        UNAVAILABLE.
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


class ServingStatus(enum.Enum):
    """The states, in the order of their gRPC numbers from 1 to 3."""

    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"


@service("fastrpc.health", alias=(GRPC_HEALTH,))
class GrpcHealth:
    """Report whether a server or one of its services serves, in fastrpc and as gRPC's health service."""

    def __init__(self, state: ServingState) -> None:
        self._health = Health(state)

    @method(alias=("Check",), idempotent=True)
    async def check(self, service: str = "") -> ServingStatus:
        """Return SERVING, NOT_SERVING or SERVICE_UNKNOWN. An empty name means the whole server.

        Raises:
            CallError: a gRPC caller asks for an unknown service.
        """
        found = ServingStatus(await self._health.check(service))
        if found is ServingStatus.SERVICE_UNKNOWN and current_call().peer.protocol == "grpc":
            raise CallError(Status.NOT_FOUND, f"this server has no service {service!r}")
        return found

    @method(alias=("Watch",), idempotent=True)
    async def watch(self, service: str = "") -> AsyncIterator[ServingStatus]:
        """Yield the state that `check` returns, immediately and after each change, until the server drains."""
        states: Any = self._health.watch(service)
        async with aclosing(states):
            async for state in states:
                yield ServingStatus(state)

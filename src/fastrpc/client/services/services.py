"""The client of many services on an event loop."""

import asyncio
import contextvars
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fastrpc._core.client.caller_view import process_generation
from fastrpc._core.loop.loop_state import wrong_loop
from fastrpc.client.client import Client
from fastrpc.client.inside import pool_of, state_of
from fastrpc.client.services.arguments import Arguments
from fastrpc.client.services.many import ManyServices, verbs_of
from fastrpc.client.services.sharing import SharedConnections
from fastrpc.client.services.tenants import LOOKS, ServicesHome, Tenants
from fastrpc.failmodes.base import fail_mode_for
from fastrpc.registries.base.urls import open_registry
from fastrpc.rpc.options import refuse_view

if TYPE_CHECKING:
    from fastrpc._core.client.caller import Caller
    from fastrpc.client.fan_out import FanOut
    from fastrpc.peers.stream_verbs import StreamVerbs

    class _Verbs(Caller, FanOut, StreamVerbs):
        """The verbs of a `Client`, for type checkers."""

else:
    _Verbs = verbs_of(Client)

__all__ = ["Services"]


class Services(ManyServices[Client], _Verbs):
    """Call the services of a registry, each found when it is first called.

    ::

        async with fastrpc.Services("consul://127.0.0.1:8500") as services:
            await services.call(Arith.mul, 6, 7)
            await services.call("shop.orders.get", "17")
            orders = services["shop.orders"]

    The service of a call is the service of the method's class, or its name before the last dot. A `Services` has the
    verbs of a `Client`; `services[name]` is the client of one service, which is closed with all others. Each service
    has separate breakers and a separate budget of retries.

    Args:
        registry: as for `Client`: a URL without a service, an object of `fastrpc.registries`, or a list of them.
        names: the names in the registry, by service, for services with another name there.
        idle_seconds: after this time without a call a service is not followed until its next call. After six times as
            long its client is dropped unless the program refers to it. None keeps and follows all services for good.
        selector: the name of a selector, or a function that makes one for each service.
        fail_mode, interceptors, credentials, config: as for `Client`.

    Raises:
        ConfigError: an argument is invalid.
    """

    _fail_mode_for = staticmethod(fail_mode_for)

    def _begin(self, given: Arguments) -> None:
        self._registry = open_registry(given.registry, tls=given.config.tls)
        self._home = _Home(self._tenants, given)

    def _made(self, service: str) -> Client:
        self._home.check_process()
        self._home.check_open()
        client = Client(registry=self._registry, **self._arguments.of_client(service))
        pool = pool_of(client)
        pool.home = self._home
        state_of(client).record_of = pool.record_of
        return client

    async def __aenter__(self) -> Self:
        refuse_view(self._is_view, "entered")
        self._home.used_on(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    if not TYPE_CHECKING:
        # These methods only raise an error with a clear message: type checkers already refuse a plain `with`.

        def __enter__(self):
            raise TypeError(
                "a Services is entered by `async with Services(…)` (in code without a loop: `with SyncServices(…)`)"
            )

        __exit__ = None

    async def close(self) -> None:
        """Close the clients of all services, and a registry that was given by its URL. Closing twice is allowed."""
        refuse_view(self._is_view, "closed")
        self._home.end()
        await asyncio.gather(*(client.close() for client in self._tenants.clients))
        if self._registry is not self._arguments.registry and not self._home.is_of_parent:
            await self._registry.aclose()

    def stats(self) -> dict[str, Any]:
        """Return the gauges and totals of all services together, as `Client.stats` does for one.

        `live` also has the number of services that are followed.
        """
        return self._tenants.stats(lambda pool: pool.open_connections)

    def __repr__(self) -> str:
        return f"<Services of {self._registry!r}>"


class _Home(ServicesHome):
    """The loop on which the services are used, and the timer of the checks for idle services."""

    def __init__(self, tenants: Tenants[Client], given: Arguments) -> None:
        super().__init__(tenants)
        #: The connections of all services.
        self.connections = SharedConnections(given.config)
        self._pause = None if given.idle_seconds is None else given.idle_seconds / LOOKS
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_of_parent(self) -> bool:
        """Whether the services were used before a fork, and this process is the child."""
        return self._process not in (0, process_generation())

    def check_process(self) -> None:
        """Raise RuntimeError in the child of a fork if the services were used before it."""
        if self.is_of_parent:
            raise RuntimeError("this Services was used before the fork; create it in the child")

    def used_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Record the loop of the first use of a service.

        Raises:
            RuntimeError: another loop was used before, or the process is the child of a fork.
        """
        self.check_process()
        if self._loop is None:
            self._loop, self._process = loop, process_generation()
            self.connections.loop = loop
            self._look_later(loop)
        elif self._loop is not loop:
            raise wrong_loop("Services", self._loop, loop)

    def end(self) -> None:
        """Refuse further calls, and end the checks."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pause is not None and not self.is_closed:
            # The timer must not keep a `Services` alive that the program has dropped.
            self._timer = loop.call_later(
                self._pause, _look, weakref.ref(self), loop, context=contextvars.Context()
            )

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put services without calls to rest: retire their connections and stop watching them."""
        for pool in self._tenants.idle(loop.time()):
            if not pool.has_waiting:
                pool.rest()
        self._look_later(loop)


def _look(home: weakref.ref[_Home], loop: asyncio.AbstractEventLoop) -> None:
    if (found := home()) is not None:
        found.look(loop)

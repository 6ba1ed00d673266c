"""The client of many services, without a loop."""

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fastrpc._core.client.caller_view import process_generation
from fastrpc.client.blocking.client import SyncClient
from fastrpc.client.blocking.parts import parts_of
from fastrpc.client.inside import pool_of
from fastrpc.client.services.arguments import Arguments
from fastrpc.client.services.blocking_sharing import SharedSessions
from fastrpc.client.services.many import ManyServices, verbs_of
from fastrpc.client.services.tenants import LOOKS, ServicesHome, Tenants
from fastrpc.failmodes.base import blocking_fail_mode_for
from fastrpc.registries.base.urls import open_registry
from fastrpc.rpc.options import refuse_view

if TYPE_CHECKING:
    from fastrpc._core.client.blocking_caller import BlockingCaller
    from fastrpc.client.blocking.fan_out import BlockingFanOut
    from fastrpc.client.blocking.stream_verbs import BlockingStreamVerbs

    class _Verbs(BlockingCaller, BlockingStreamVerbs, BlockingFanOut):
        """The verbs of a `SyncClient`, for type checkers."""

else:
    _Verbs = verbs_of(SyncClient)

__all__ = ["SyncServices"]


class SyncServices(ManyServices[SyncClient], _Verbs):
    """Call the services of a registry from blocking code; any number of threads may share it.

    ::

        with fastrpc.SyncServices("consul://127.0.0.1:8500") as services:
            services.call(Arith.mul, 6, 7)

    It has the verbs of a `SyncClient`, and may be used in the child of a fork as well. It has no thread: each `call`
    also checks for idle services.

    Args:
        registry, names, idle_seconds, selector: as for `Services`. Give the URL of the registry if the process forks.
        fail_mode, interceptors, credentials, config: as for `SyncClient`.

    Raises:
        ConfigError: an argument is invalid.
    """

    _fail_mode_for = staticmethod(blocking_fail_mode_for)

    def _begin(self, given: Arguments) -> None:
        self._home = _Home(given, self._tenants)
        # Raise the errors of settings that only a client checks.
        parts_of(self._home, registry=None, **given.of_client("services"))

    def _made(self, service: str) -> SyncClient:
        self._home.check_open()
        client = SyncClient.__new__(SyncClient)
        client._begin(parts_of(self._home, registry=None, **self._arguments.of_client(service)))
        pool_of(client).owner = client
        return client

    def __enter__(self) -> Self:
        refuse_view(self._is_view, "entered")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:

        def call(self, method, /, *args, **kwargs):
            if time.monotonic() >= self._home.looks_at:
                self._home.look()
            return super().call(method, *args, **kwargs)

        # These methods only raise an error with a clear message: type checkers already refuse `async with`.

        async def __aenter__(self):
            raise TypeError(
                "a SyncServices is entered by `with SyncServices(…)` (on a loop: `async with Services(…)`)"
            )

        __aexit__ = None

    def close(self) -> None:
        """Close the clients of all services, and a registry that was given by its URL. Closing twice is allowed."""
        refuse_view(self._is_view, "closed")
        self._home.is_closed = True
        for client in self._tenants.clients:
            client.close()
        self._home.close()

    def stats(self) -> dict[str, Any]:
        """Return the gauges and totals of all services together, as `SyncClient.stats` does for one.

        `live` also has the number of services that are followed.
        """
        return self._tenants.stats(lambda pool: pool.connections)

    def __repr__(self) -> str:
        return f"<SyncServices of {self._home.registry!r}>"


class _Home(ServicesHome):
    """The registry and the connections of all services in this process, and the checks for idle services."""

    def __init__(self, given: Arguments, tenants: Tenants[SyncClient]) -> None:
        super().__init__(tenants)
        self._given = given
        # The keys are numbers of earlier forks: the registry's threads and the connections stay with the parent.
        self._opened: dict[int, tuple[Any, SharedSessions]] = {}
        self._pause = math.inf if given.idle_seconds is None else given.idle_seconds / LOOKS
        self.looks_at = time.monotonic() + self._pause
        #: Whether the registry was given by its URL, so that the child of a fork opens its own.
        self.owns_registry = self.registry is not given.registry

    @property
    def registry(self) -> Any:
        """The registry that this process has opened."""
        return self._of_process()[0]

    @property
    def sessions(self) -> SharedSessions:
        """The connections of this process."""
        return self._of_process()[1]

    def _of_process(self) -> tuple[Any, SharedSessions]:
        process = process_generation()
        if process not in self._opened:
            config = self._given.config
            made = open_registry(self._given.registry, tls=config.tls), SharedSessions(config)
            # Concurrent threads may make several here: the first stays, the others are never used.
            self._opened.setdefault(process, made)
        return self._opened[process]

    def look(self) -> None:
        """Put services without calls to rest: retire their connections and stop watching them."""
        now = time.monotonic()
        self.looks_at = now + self._pause
        for pool in self._tenants.idle(now):
            if not pool.is_of_parent:
                pool.rest()

    def close(self) -> None:
        """Close the registry, if this process opened it."""
        opened = self._opened.get(process_generation())
        if self.owns_registry and opened is not None:
            opened[0].close()

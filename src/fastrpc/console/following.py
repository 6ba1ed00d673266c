"""Follow the services of a registry and the endpoints of each."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from fastrpc.cancelling import cancelled
from fastrpc.console.events import FleetEvents
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.registries.base.watch import ServicesWatch
from fastrpc.rpc.service import BUILTIN_PREFIX

__all__ = ["MOST_SERVICES", "RegistryFollower"]

logger = logging.getLogger("fastrpc.server")

#: Most services that are followed.
MOST_SERVICES: Final = 2_000

#: AGAIN_SECONDS: seconds from a failed watch to the next one. LOOK_SECONDS: seconds between two checks whether the
#: registry can be reached.
AGAIN_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 1.0


class RegistryFollower:
    """Passes on the lists of all services of a registry, as they change.

    Args:
        tell: gets the name of a service and its endpoints.
    """

    def __init__(
        self,
        registry: WatchedRegistry,
        tell: Callable[[str, Iterable[Endpoint]], None],
        events: FleetEvents,
    ) -> None:
        self._registry, self._tell, self._events = registry, tell, events
        self._followed: dict[str, asyncio.Task[None]] = {}
        # Services whose list has arrived, or was refused.
        self._known: set[str] = set()
        self._is_listed = False
        #: Set once the endpoints of all services are known, as far as the registry reports them.
        self.completed = asyncio.Event()
        #: The number of services beyond the limit.
        self.left_out = 0
        #: The reason why the registry cannot be queried now; None if it can.
        self.error: str | None = None

    async def run(self) -> None:
        """Watch the registry until cancelled, or until it proves unable to list its services."""
        try:
            while True:
                try:
                    await self._follow_names()
                except Exception as error:
                    # After an error of any kind the service is watched again.
                    self._judge(error)
                    if isinstance(error, ConfigError) and not self._followed:  # It cannot list services.
                        self.completed.set()
                        return
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            await cancelled(self._followed.values())

    async def _follow_names(self) -> None:
        watch = self._registry.watch_services()
        self._is_listed = False
        looking = asyncio.ensure_future(self._look(watch))
        try:
            async for names in watch:
                self._set_names([name for name in names if not name.startswith(BUILTIN_PREFIX)])
                self._is_listed = True
                self._judge_lists()
        finally:
            looking.cancel()
            watch.close()

    async def _look(self, watch: ServicesWatch) -> None:
        while True:
            # Before the first list, a missing error does not mean success.
            if watch.error is not None or self._is_listed:
                self._judge(watch.error)
            await asyncio.sleep(LOOK_SECONDS)

    def _judge_lists(self) -> None:
        if self._is_listed and self._known >= self._followed.keys():
            self.completed.set()

    def _judge(self, error: Exception | None) -> None:
        if (self.error is None) != (error is None):
            text = "" if error is None else str(error) or type(error).__name__
            self._events.add("registry back" if error is None else "registry lost", text=text)
            if error is not None:
                logger.warning("the registry cannot be asked: %s", text)
        self.error = None if error is None else str(error) or type(error).__name__

    def _set_names(self, names: list[str]) -> None:
        self.left_out = max(0, len(names) - MOST_SERVICES)
        wanted = set(names[:MOST_SERVICES])
        for name in self._followed.keys() - wanted:
            self._followed.pop(name).cancel()
            self._known.discard(name)
            self._tell(name, ())
        for name in sorted(wanted - self._followed.keys()):
            self._followed[name] = asyncio.ensure_future(self._follow(name))

    async def _follow(self, service: str) -> None:
        while True:
            try:
                watch = self._registry.watch(service)
                try:
                    async for snapshot in watch:
                        self._tell(service, snapshot.endpoints)
                        self._known.add(service)
                        self._judge_lists()
                finally:
                    watch.close()
            except Exception as error:
                logger.warning("the endpoints of %s cannot be watched: %s", service, error)
                self._known.add(service)
                self._judge_lists()
            await asyncio.sleep(AGAIN_SECONDS)

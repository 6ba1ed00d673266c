"""The work that a server starts by itself: calls of scheduled methods, deliveries of messages."""

import asyncio
from collections.abc import Awaitable
from typing import Any, NamedTuple

from fastrpc.config import ServerConfig
from fastrpc.handlers.services import ServiceTable
from fastrpc.rpc.service import service_definition
from fastrpc.server.background.scheduling import Scheduling
from fastrpc.server.background.subscribing import Subscribing

__all__ = ["BackgroundWork", "ServerResources"]


class ServerResources(NamedTuple):
    """The URL of a server's store, and the URL of its broker or an open broker."""

    store: str | None
    broker: Any


class BackgroundWork:
    """Opens store and broker, and runs schedules and subscribers of services while they are served.

    Raises:
        ConfigError: a URL is not the URL of a store or of a broker.
    """

    def __init__(self, served: ServiceTable, resources: ServerResources, config: ServerConfig) -> None:
        self._served = served
        self.scheduling = Scheduling(served, resources.store)
        self.subscribing = Subscribing(served, resources.broker, config)

    async def open(self) -> None:
        """Open store and broker. They are closed after the sources of services have ended."""
        await self.scheduling.open()
        await self.subscribing.open()

    async def begin(self) -> None:
        """Start the work of all services. It is stopped before the sources (`handlers/sources.py`) are exited.

        Raises:
            ConfigError: a store or a broker is missing, or lacks a feature that an option requires.
        """
        await self._served.hold(self)
        made = []
        for name, service in self._served.instances():
            self.scheduling.add(name, service)
            made += self._made_for(service)
        await self.subscribing.begin(made)

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> None:
        await self.stop(0)
        self.scheduling.forget()
        self.subscribing.forget()

    def add(self, name: str, service: Any) -> None:
        """Start the work of a service. Raises ConfigError as `begin` does."""
        self.scheduling.add(name, service)
        self.subscribing.begin_soon(self._made_for(service))

    async def stop_taking(self) -> None:
        """Receive no further messages."""
        await self.subscribing.stop_taking()

    async def stop(self, seconds: float | None, name: str | None = None) -> bool:
        """Start no further work, of one service or of all; return whether all running work ended in time."""
        ended = await asyncio.gather(
            self.scheduling.stop(seconds, name), self.subscribing.stop(seconds, name)
        )
        return all(ended)

    async def stop_beside(
        self, work: Awaitable[bool], seconds: float | None, name: str | None = None
    ) -> bool:
        """Stop, and wait for other work at the same time; return whether all work ended without being cancelled."""
        stopping = asyncio.ensure_future(self.stop(seconds, name))
        try:
            is_clean = await work
        except BaseException:
            stopping.cancel()
            raise
        return await stopping and is_clean

    def _made_for(self, service: Any) -> list[Any]:
        return self.subscribing.made_for(service_definition(service).names, service)

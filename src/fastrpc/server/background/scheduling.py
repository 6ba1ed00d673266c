"""The store of a server, and the runs of its scheduled methods.

Parts of `coordination` rank above servers: they are named as text, and imported on first use.
"""

import asyncio
from collections.abc import Awaitable
from importlib import import_module
from typing import Any

from fastrpc.handlers.services import ServiceTable
from fastrpc.rpc.background.scheduling import schedules_of

__all__ = ["Scheduling", "check_store"]


class Scheduling:
    """Opens the store, and runs the scheduled methods of services while they are served.

    Raises:
        ConfigError: the URL is not that of a store.
    """

    def __init__(self, served: ServiceTable, url: str | None) -> None:
        self._served = served
        self._url = url
        self._store: Any = None
        # Made for the first scheduled method.
        self._schedules: Any = None
        if url is not None:
            check_store(url)

    async def open(self) -> None:
        """Open the store; it is closed after the sources are left."""
        if self._url is not None:
            self._store = _part("store").open_store(self._url)
            await self._served.hold(self._store)
            self._served.gate.dispatcher.store = self._store

    def shown(self, most_rows: int) -> dict[str, Any] | None:
        """Return the state of the store for the admin page; None without one, or for one of another process."""
        if self._store is None:
            return None
        found: dict[str, Any] | None = _part("overview").overview_of(self._store, most_rows)
        return found

    async def begin(self) -> None:
        """Run the scheduled methods of all services, until the sources are left.

        Raises:
            ConfigError: one runs on the leader, and there is no store.
        """
        await self._served.hold(self)
        for name, service in self._served.instances():
            self.add(name, service)

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> None:
        await self.stop(0)
        self._schedules = None

    def add(self, name: str, service: Any) -> None:
        """Run the scheduled methods of a service from now on. ConfigError as in `begin`."""
        if schedules_of(type(service)):
            if self._schedules is None:
                self._schedules = _part("schedules").Schedules(self._store)
            self._schedules.add(name, service)

    async def stop(self, seconds: float | None, name: str | None = None) -> bool:
        """Start no run any more, of one service or of all; return whether each one that runs ended in time."""
        return self._schedules is None or bool(await self._schedules.stop(name, seconds))

    async def stop_beside(
        self, work: Awaitable[bool], seconds: float | None, name: str | None = None
    ) -> bool:
        """Stop while other work ends in the same time; return whether all of it ended by itself."""
        stopping = asyncio.ensure_future(self.stop(seconds, name))
        try:
            is_clean = await work
        except BaseException:
            stopping.cancel()
            raise
        return await stopping and is_clean


def check_store(url: str) -> None:
    """Raise ConfigError for the URL of no store: each process opens its own, where the error would come late."""
    _part("store").open_store(url)


def _part(name: str) -> Any:
    return import_module(f"fastrpc.coordination.{name}")

"""The store of a server, and the calls of its scheduled methods."""

from typing import Any

from fastrpc.first_use import registered
from fastrpc.handlers.services import ServiceTable
from fastrpc.rpc.background.scheduling import schedules_of

__all__ = ["Scheduling", "check_store"]


class Scheduling:
    """Opens the store, and runs the scheduled methods of services while they are served.

    Raises:
        ConfigError: the URL is not the URL of a store.
    """

    def __init__(self, served: ServiceTable, url: str | None) -> None:
        self._served = served
        self._url = url
        self._store: Any = None
        # Created with the first scheduled method.
        self._schedules: Any = None
        if url is not None:
            check_store(url)

    async def open(self) -> None:
        """Open the store. It is closed after the sources of services have ended."""
        if self._url is not None:
            self._store = registered("server", "open_store")(self._url)
            await self._served.hold(self._store)
            self._served.gate.dispatcher.store = self._store

    def shown(self, most_rows: int) -> dict[str, Any] | None:
        """Return the state of the store for the admin page; None without a store, or for a store of another process."""
        if self._store is None:
            return None
        found: dict[str, Any] | None = registered("server", "overview_of")(self._store, most_rows)
        return found

    def add(self, name: str, service: Any) -> None:
        """Run the scheduled methods of a service from now on.

        Raises:
            ConfigError: a method is scheduled on the leader, but there is no store.
        """
        if schedules_of(type(service)):
            if self._schedules is None:
                broker = self._served.gate.dispatcher.broker
                self._schedules = registered("server", "Schedules")(self._store, broker=broker)
            self._schedules.add(name, service)

    async def stop(self, seconds: float | None, name: str | None = None) -> bool:
        """Start no further runs, of one service or of all; return whether all running methods ended in time."""
        return self._schedules is None or bool(await self._schedules.stop(name, seconds))

    def forget(self) -> None:
        """Forget all services, so that `add` starts again."""
        self._schedules = None


def check_store(url: str) -> None:
    """Raise ConfigError unless this is the URL of a store. Each process opens the store only later."""
    registered("server", "open_store")(url)

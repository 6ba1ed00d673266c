"""`fastrpc.discover`: who serves what, in which scope."""

import asyncio
import time
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from fastrpc.config.validation import check_timeout
from fastrpc.discovery.scopes import PROVIDER, SCOPE, SCOPES
from fastrpc.endpoint import Endpoint
from fastrpc.patterns import ServicePattern
from fastrpc.registries.base.registry import RegistryOption
from fastrpc.registries.base.urls import is_opened, open_registry
from fastrpc.registries.base.watch import Watch

__all__ = ["Found", "discover"]

#: Seconds of one round: a registry of a host or of a network tells its list within.
ROUND_SECONDS = 0.2

#: Seconds between two rounds of a wait.
PAUSE_SECONDS = 0.3


class Found(NamedTuple):
    """An endpoint of a service."""

    service: str
    provider: str
    scope: str
    endpoint: Endpoint


async def discover(
    service: str,
    *,
    provider: str = "*",
    registry: RegistryOption = "any://",
    timeout: float | None = 0,
) -> list[Found]:
    """Return the endpoints of services, the nearest first; an empty list without any in time.

    Args:
        service: a name, or a pattern: `shop.*` is one word more, `shop.**` one or more.
        provider: a pattern, in which `*` stands for any text.
        registry: a URL or an object of `fastrpc.registries`, or a list of them.
        timeout: the seconds to wait for the first; 0 takes one round of 0.2 seconds, None waits for ever.

    Raises:
        ConfigError: a pattern or the registry cannot be used.
        StoreError: the registry cannot be reached.
    """
    check_timeout(timeout, zero=True)
    search = _Search(ServicePattern(service), provider, open_registry(registry))
    until = None if timeout is None else time.monotonic() + timeout
    async with AsyncExitStack() as stack:
        if is_opened(registry):
            stack.push_async_callback(search.registry.aclose)
        stack.callback(search.close)
        while True:
            await search.round()
            found = search.found()
            if found or (until is not None and time.monotonic() >= until):
                return found
            await asyncio.sleep(PAUSE_SECONDS)


class _Search:
    """The lists of all services that match."""

    def __init__(self, pattern: ServicePattern, provider: str, registry: Any) -> None:
        self.registry = registry
        self._pattern, self._provider = pattern, provider
        self._watches: dict[str, Watch] = {}

    async def round(self) -> None:
        """Ask once for the services, and wait for their lists."""
        ends = asyncio.get_running_loop().time() + ROUND_SECONDS
        names = [self._pattern.text] if self._pattern.is_name else await self._names()
        for name in names:
            if name not in self._watches:
                self._watches[name] = self.registry.watch(name)
        await asyncio.sleep(ends - asyncio.get_running_loop().time())

    async def _names(self) -> list[str]:
        names = await asyncio.to_thread(self.registry.services)
        return [name for name in names if self._pattern.matches(name)]

    def found(self) -> list[Found]:
        """Return all endpoints that are listed now.

        Raises:
            StoreError: none is, and the registry cannot be reached.
        """
        found = []
        for name, watch in self._watches.items():
            for endpoint in watch.latest.endpoints if watch.latest is not None else ():
                labels = endpoint.labels
                if fnmatchcase(labels.get(PROVIDER, ""), self._provider):
                    found.append(Found(name, labels.get(PROVIDER, ""), labels.get(SCOPE, ""), endpoint))
        errors = [watch.error for watch in self._watches.values() if watch.error is not None]
        if errors and not found:
            raise errors[0]
        return sorted(found, key=_distance)

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()


def _distance(found: Found) -> tuple[str, int, str]:
    rank = SCOPES.index(found.scope) if found.scope in SCOPES else len(SCOPES)
    return found.service, rank, str(found.endpoint)

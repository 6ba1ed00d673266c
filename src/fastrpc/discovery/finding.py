"""`fastrpc.discover`: the servers of services, by scope."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from fastrpc.config.validation import check_timeout
from fastrpc.discovery.scopes import PROVIDER, SCOPE, SCOPES, provider_pattern
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.patterns import ServicePattern
from fastrpc.registries.base.registry import RegistryOption
from fastrpc.registries.base.urls import is_opened, open_registry
from fastrpc.registries.base.watch import Watch

__all__ = ["Found", "discover"]

#: Seconds of one round, in which a registry of a host or a network reports its list.
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
    """Return the endpoints of services, the nearest first; an empty list if none is found in time.

    Args:
        service: a name, or a pattern: `shop.*` is one word more, `shop.**` one or more.
        provider: a pattern, in which `*` stands for any text.
        registry: a URL or an object of `fastrpc.registries`, or a list of them.
        timeout: the seconds to wait for the first service; 0 takes one round of 0.2 seconds, None waits for ever.

    Raises:
        ConfigError: a pattern or the registry cannot be used.
        StoreError: no scope has a registry that can be reached.
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
        self._pattern, self._matches = pattern, provider_pattern(provider).fullmatch
        self._watches: dict[str, Watch] = {}
        # The members are asked separately, so a slow one does not delay the others.
        self._members = getattr(registry, "members", [registry])
        self._asking: list[asyncio.Future[list[str]] | None] = [None for _ in self._members]
        self._errors: list[Exception] = []

    async def round(self) -> None:
        """Ask once for the services, and wait for their lists."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + ROUND_SECONDS
        if self._pattern.is_name:
            self._watch(self._pattern.text)
        else:
            await self._ask(ends)
        await asyncio.sleep(ends - loop.time())

    async def _ask(self, ends: float) -> None:
        """Query each registry that has answered for its services, and use the answers that arrive in time."""
        for index, member in enumerate(self._members):
            if self._asking[index] is None:
                self._asking[index] = asyncio.ensure_future(asyncio.to_thread(member.services))
        waiting = [one for one in self._asking if one is not None]
        self._errors.clear()
        while waiting and (left := ends - asyncio.get_running_loop().time()) > 0:
            done, _ = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                self._take(one)
            waiting = [one for one in waiting if one not in done]

    def _take(self, answer: asyncio.Future[list[str]]) -> None:
        self._asking[self._asking.index(answer)] = None
        if (error := answer.exception()) is None:
            for name in filter(self._pattern.matches, answer.result()):
                self._watch(name)
        elif isinstance(error, ConfigError | StoreError):
            self._errors.append(error)
        else:
            raise error

    def _watch(self, name: str) -> None:
        if name not in self._watches:
            self._watches[name] = self.registry.watch(name)

    def found(self) -> list[Found]:
        """Return all endpoints that are listed now.

        Raises:
            ConfigError: there is no such endpoint, and no registry can list its services.
            StoreError: there is no such endpoint, and no registry can be reached.
        """
        found = []
        for name, watch in self._watches.items():
            for endpoint in watch.latest.endpoints if watch.latest is not None else ():
                labels = endpoint.labels
                if self._matches(labels.get(PROVIDER, "")):
                    found.append(Found(name, labels.get(PROVIDER, ""), labels.get(SCOPE, ""), endpoint))
        errors = [watch.error for watch in self._watches.values() if watch.error is not None]
        if not found and len(self._errors) == len(self._members):
            raise self._errors[0]
        if not found and errors:
            raise errors[0]
        return sorted(found, key=_distance)

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()
        for one in self._asking:
            if one is not None:
                one.cancel()


def _distance(found: Found) -> tuple[str, int, str]:
    rank = SCOPES.index(found.scope) if found.scope in SCOPES else len(SCOPES)
    return found.service, rank, str(found.endpoint)

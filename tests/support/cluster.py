"""A registry and servers, each a separate process, as tests of outages and restarts need them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from fastrpc.registries import open_registry
from tests.support.member import Member

__all__ = ["Cluster", "cluster", "in_thread", "until"]

#: The service of all members.
SERVICE = "noted"


class Cluster:
    """Registered servers of `Noted`, and the lists that a watch of them has seen."""

    def __init__(self, registry: Any, folder: Path, workers: Sequence[int], announce: float) -> None:
        self.registry = registry
        self.journal = folder / "journal"
        self._folder = folder
        self._announce = announce
        self._made: list[Member] = []
        self.members = [self.member(count) for count in workers]
        #: The lists that the watch delivered, each with the instant when it came.
        self.seen: list[tuple[float, set[str]]] = []

    def member(self, workers: int = 1) -> Member:
        """Return a server that is to be started, in addition to `members`; it ends with the cluster."""
        made = Member(
            self._folder,
            self.journal,
            registry=self.registry.url,
            workers=workers,
            announce=self._announce,
        )
        self._made.append(made)
        return made

    def kill(self) -> None:
        """End every process."""
        for process in (self.registry, *self._made):
            process.kill()

    @property
    def addresses(self) -> set[str]:
        return {member.address for member in self.members}

    def listed(self) -> set[str]:
        """Ask the registry itself, past anything of ours that remembers; blocks."""
        found: set[str] = self.registry.listed(SERVICE)
        return found

    async def until_listed(self, addresses: set[str]) -> float:
        """Return when the registry itself has these, and maybe more."""
        return await until(lambda: self.listed() >= addresses)

    async def until_seen(self, addresses: set[str]) -> float:
        """Return when the watch shows exactly these."""
        await until(lambda: self.seen and self.seen[-1][1] == addresses)
        return self.seen[-1][0]

    async def restart(self, member: Member) -> None:
        """Let one server leave in order, start it again, and return once all clients can know of it."""
        await in_thread(member.stop)
        await in_thread(member.start)
        await self.until_seen(self.addresses)


@contextlib.asynccontextmanager
async def cluster(
    registry: Any,
    folder: Path,
    *,
    workers: Sequence[int] = (1, 1, 1),
    announce: float = 0.0,
    watched: Sequence[str] = (),
) -> AsyncIterator[Cluster]:
    """Start a registry and a server for each number of worker processes; yield when all are registered.

    Args:
        watched: the URLs of the registries that are watched; only that one by default.
    """
    made = Cluster(registry, folder, workers, announce)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(made.kill)
        await in_thread(registry.start)
        await asyncio.gather(*(in_thread(member.start) for member in made.members))
        await stack.enter_async_context(_watching(watched or [registry.url], made.seen))
        await made.until_seen(made.addresses)
        yield made


@contextlib.asynccontextmanager
async def _watching(urls: Sequence[str], seen: list[tuple[float, set[str]]]) -> AsyncIterator[None]:
    async def look() -> None:
        async for snapshot in registry.watch(SERVICE):
            seen.append((time.monotonic(), {str(endpoint) for endpoint in snapshot.endpoints}))

    async with open_registry(urls) as registry:  # type: ignore[attr-defined]
        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a blocking function in a thread."""
    return await asyncio.to_thread(function, *arguments)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> float:
    """Return the instant at which something holds that blocks when it is asked."""
    async with asyncio.timeout(seconds):
        while not await in_thread(condition):
            await asyncio.sleep(0.02)
    return time.monotonic()

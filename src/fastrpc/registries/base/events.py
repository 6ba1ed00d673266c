"""The events of a registry: single changes in the lists of its services, and its outages."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeAlias, TypeVar

from fastrpc.cancelling import cancelled
from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries.base.changes import by_address, differences
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.registries.base.watch import Watching
from fastrpc.value_class import value_class

__all__ = ["RegistryEvent", "RegistryEventKind", "events"]

RegistryEventKind: TypeAlias = Literal["added", "changed", "removed", "lost", "back"]

T = TypeVar("T", bound=Watching[Any])

#: The most events in the queue. While it is full, no further list is read.
_MOST_WAITING = 1_000


@value_class
class RegistryEvent:
    """A change to one endpoint, or the start or end of an outage of the registry."""

    kind: RegistryEventKind
    #: The time at which the event was noticed, as of `time.time()`.
    time: float
    #: The service; "" for an outage.
    service: str = ""
    #: The current endpoint; for a removal the removed one; None for an outage.
    endpoint: Endpoint | None = None
    #: The previous record of a changed endpoint; None for other kinds of events.
    before: Endpoint | None = None
    #: The error of the last query to a lost registry.
    reason: str = ""


async def events(
    registry: WatchedRegistry,
    service: str | None = None,
    *,
    is_shown: Callable[[str], bool] = lambda name: True,
) -> AsyncGenerator[RegistryEvent, None]:
    """Yield the events of a registry until it is closed; at first all present endpoints count as added.

    A refusal by the registry counts as an outage, because its next answer may differ. A slow reader gets several lists
    merged into one, and loses no difference.

    Args:
        service: the only service to follow; None for all current and future services.
        is_shown: decides by name whether to follow a service. Ignored if `service` is given.

    Raises:
        ConfigError: the registry cannot list its services.
    """
    following = _Following(registry, is_shown)
    try:
        if service is None:
            following.begin(following.follow_names())
        else:
            following.begin(following.follow(service))
        while (found := await following.queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        await following.close()


class _Following:
    """The watches of one reader."""

    def __init__(self, registry: WatchedRegistry, is_shown: Callable[[str], bool]) -> None:
        #: Events, then the error that ended the watches, or None when the registry was closed.
        self.queue: asyncio.Queue[RegistryEvent | BaseException | None] = asyncio.Queue(_MOST_WAITING)
        self._registry = registry
        self._is_shown = is_shown
        self._loop = asyncio.get_running_loop()
        # The task of each watch.
        self._tasks: set[asyncio.Task[None]] = set()
        # The services that are followed.
        self._followed: set[str] = set()
        # The services that the registry names.
        self._named: frozenset[str] | None = None
        self._watches: set[Watching[Any]] = set()
        self._has_news = asyncio.Event()
        self._outages = asyncio.ensure_future(self._tell_outages())

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start the task of a watch. If the task fails, or was the last one, the events end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None or not self._tasks:
            # The reader needs the end marker. If the queue is full, the marker replaces the oldest event.
            if self.queue.full():
                self.queue.get_nowait()
            self.queue.put_nowait(error)

    async def close(self) -> None:
        """End all watches."""
        await cancelled([*self._tasks, self._outages])

    async def follow_names(self) -> None:
        """Follow each service that the registry names."""
        with self._watched(self._registry.watch_services()) as watch:
            async for names in watch:
                self._named = frozenset(names)
                for name in names:
                    if name not in self._followed and self._is_shown(name):
                        self._followed.add(name)
                        self.begin(self.follow(name))

    async def follow(self, service: str) -> None:
        """Report the changes of one service. Return when its list is empty and the registry no longer names it."""
        known: dict[Address, Endpoint] = {}
        with self._watched(self._registry.watch(service)) as watch:
            async for snapshot in watch:
                found, now = by_address(snapshot.endpoints), time.time()
                for kind, endpoint, before in differences(known, found):
                    await self.queue.put(RegistryEvent(kind, now, service, endpoint, before))
                known = found
                if not known and self._named is not None and service not in self._named:
                    break
        self._followed.discard(service)
        if self._named is not None and service in self._named:
            # The service was named again in the meantime.
            self._followed.add(service)
            self.begin(self.follow(service))

    async def _tell_outages(self) -> None:
        """Report when a query fails, and when all queries succeed again."""
        is_lost = False
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            error = next((watch.error for watch in self._watches if watch.error is not None), None)
            if (error is not None) != is_lost:
                is_lost = error is not None
                reason = "" if error is None else str(error)
                kind: RegistryEventKind = "lost" if is_lost else "back"
                await self.queue.put(RegistryEvent(kind, time.time(), reason=reason))

    @contextmanager
    def _watched(self, watch: T) -> Iterator[T]:
        """Check a watch for outages while the block lasts, then close it."""
        self._watches.add(watch)
        watch.listen(self._notice)
        # The watch may have failed already.
        self._notice()
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            watch.close()
            self._notice()

    def _notice(self) -> None:
        with suppress(RuntimeError):  # The loop is closed: the reader is gone.
            self._loop.call_soon_threadsafe(self._has_news.set)

"""Locks, semaphores and elections, with the same algorithm for every store.

Each contender has a lease, under which it creates an item `<folder><lease id>`. The contender whose item has the lowest
creation revision holds the lock. Each other contender watches the item before its own, so the order is first come,
first served. After the wait a contender reads all items again: if its own item was removed in the meantime, it does not
hold the lock. The token of a holder is the creation revision of its item, which is greater for each later holder. Items
with nested names belong to other locks.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

from fastrpc.coordination.contenders import contenders
from fastrpc.coordination.lease import StoreLease, boot_time
from fastrpc.coordination.verbs import finish
from fastrpc.errors import CompactedError, ConfigError, LockHeldError, LockLostError, StoreError
from fastrpc.hosted.verbs import PATIENCE_SECONDS, pauses, seconds_left
from fastrpc.peers.outcomes import is_away
from fastrpc.status import Status
from fastrpc.stores.base import Item, StoreBackend, Unchanged, check_key
from fastrpc.time_limit import time_limit

__all__ = [
    "CANDIDACY_SECONDS",
    "LEADERS",
    "LOCKS",
    "Holder",
    "Lock",
    "read_holder",
    "run_as_leader",
    "stands_again",
    "watch_holder",
]

logger = logging.getLogger("fastrpc.store")

T = TypeVar("T")

LOCKS: Final = "locks/"
LEADERS: Final = "leaders/"

#: Most bytes of a lease id in any store.
_LEASE_ID_BYTES: Final = 40

#: Seconds after which a waiter tries an unreachable store again.
_AWAY_SECONDS: Final = 0.5

#: Seconds before the next candidacy after a loss, or while the store is unreachable.
CANDIDACY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lock, or a leader."""

    #: The text that the holder gave.
    value: str

    token: int

    #: The number of waiting contenders.
    waiting: int


class Lock:
    """A lock, one slot of a semaphore or an election: an asynchronous context manager, to be entered once.

    Attributes:
        name: the name without its folder.
        token: a number that is greater for each later holder; 0 before this object has held the lock. A resource can
            use it to refuse a holder that was paused.
        is_election: True for an election.
        lease: the lease that is renewed while the block runs.
    """

    def __init__(
        self,
        backend: StoreBackend,
        name: str,
        *,
        folder: str = LOCKS,
        slots: int = 1,
        ttl: float = 15,
        wait: float | None = None,
        value: str = "",
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self.name = name
        self.token = 0
        self.is_election = folder == LEADERS
        self._folder = _folder_of(folder, name)
        if slots < 1:
            raise ConfigError(f"slots is {slots}, it must be a whole number from 1")
        if wait is not None and not wait >= 0:
            raise ConfigError(f"wait is {wait:g} s, it must be 0 or more, or None")
        self.lease = StoreLease(backend, ttl, owner=f"{folder}{name}", clock=clock)
        self._backend = backend
        self._slots = slots
        self._wait = wait
        self._value = value.encode()
        self._is_entered = False

    async def __aenter__(self) -> Self:
        await self.lease.__aenter__()
        contenders().add(self)
        try:
            await self._wait_for_turn(*await self._queue())
        except BaseException as error:
            contenders().discard(self)
            await self.lease.__aexit__(type(error), error, error.__traceback__)
            raise
        self._is_entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_entered = False
        contenders().discard(self)
        await self.lease.__aexit__(kind, error, traceback)

    @property
    def is_held(self) -> bool:
        """True if, by the clock of this machine, no other program can hold the lock yet."""
        return self._is_entered and self.lease.is_valid

    def held(self) -> Unchanged:
        """Return the condition for a transaction that this program still holds the lock, under the same token."""
        return Unchanged(self._key, self.token)

    async def release(self) -> None:
        """Release the lock before the block ends."""
        self._is_entered = False
        contenders().discard(self)
        await self.lease.end()

    @property
    def _key(self) -> str:
        return self._folder + self.lease.id

    async def _queue(self) -> tuple[list[Item[bytes]], int]:
        """Create the item of this contender; return the result of `_look`."""
        if not self._backend.limits.in_order:
            self.token = await self._put()
            return await self._look()
        # Request the list without waiting for the item, since most locks are free. Tasks, including eager tasks, start
        # in the order of their creation.
        making = asyncio.create_task(self._put())
        listing = asyncio.create_task(_contenders(self._backend, self._folder))
        try:
            self.token = await making
            items, revision = await listing
        except BaseException:
            making.cancel()
            listing.cancel()
            await asyncio.gather(making, listing, return_exceptions=True)
            raise
        if revision < self.token:
            # The list was read before the item was created.
            return await self._look()
        return self._ahead_of(items, revision)

    async def _put(self) -> int:
        def put() -> Awaitable[int]:
            return self._backend.put(self._key, self._value, expect=0, lease=self.lease.id)

        in_time = self._backend.limits.ends_in_time
        return await finish(f"wait for {self._folder[:-1]}", put, writes=True, ends_in_time=in_time)

    async def _wait_for_turn(self, ahead: list[Item[bytes]], revision: int) -> None:
        left = seconds_left()
        bounds = [seconds for seconds in (self._wait, left) if seconds is not None]
        try:
            async with time_limit(min(bounds, default=None)) as scope:
                while len(ahead) >= self._slots and self._wait != 0:
                    ahead, revision = await self._look_after_change(ahead, revision)
        except TimeoutError:
            if not scope.expired():
                raise
        if len(ahead) >= self._slots:
            is_refused = self._wait is not None and (left is None or self._wait <= left)
            raise self._refusal(ahead, is_refused)
        if not self.lease.is_valid:
            raise LockLostError(f"{self._folder[:-1]} was lost before it was held")

    def _refusal(self, ahead: list[Item[bytes]], is_refused: bool) -> StoreError:
        """Return the error of a waiter whose wait has timed out, or whose caller's deadline has passed."""
        first, *others = ahead
        holder = _holder(first, len(others) - self._slots + 1)
        text = f"{self._folder[:-1]} is held by {holder.value or 'another one'!r} with token {holder.token}"
        if is_refused:
            return LockHeldError(text, holder=holder)
        return StoreError(
            f"{text}, and the deadline has passed", status=Status.DEADLINE_EXCEEDED, processed="no"
        )

    async def _look(self) -> tuple[list[Item[bytes]], int]:
        """Return the items before our item, and the revision at which they were read."""
        return self._ahead_of(*await _contenders(self._backend, self._folder))

    def _ahead_of(self, items: list[Item[bytes]], revision: int) -> tuple[list[Item[bytes]], int]:
        """Return the result of `_look` from a list that was read after our item was created."""
        if not any(item.key == self._key for item in items):
            raise LockLostError(f"{self._folder[:-1]} was lost before it was held: its item has ended")
        return [item for item in items if item.created < self.token], revision

    async def _look_after_change(
        self, ahead: list[Item[bytes]], revision: int
    ) -> tuple[list[Item[bytes]], int]:
        """Wait until this contender may hold the lock, then return the result of `_look`.

        A contender for a lock waits for the item before its own. A contender for a semaphore waits until fewer items
        are ahead than the semaphore has slots. So when an item is removed, only contenders that may be next query the
        store.
        """
        keys = {item.key for item in (ahead[-1:] if self._slots == 1 else ahead)}
        watched = ahead[-1].key if self._slots == 1 else self._folder
        try:
            async with aclosing(self._backend.watch(watched, after=revision)) as changes:
                async for change in changes:
                    if change.item is None:
                        keys.discard(change.key)
                    if len(keys) < self._slots:
                        break
            return await self._look()
        except CompactedError:
            return await self._look()
        except LockLostError:
            raise
        except StoreError as error:
            # Continue during an outage: only this contender's lease and the caller's deadline limit the wait.
            if not is_away(error):
                raise
            await asyncio.sleep(_AWAY_SECONDS)
            return ahead, revision


async def read_holder(backend: StoreBackend, folder: str, name: str) -> Holder | None:
    """Return the holder of a lock, or the leader of an election."""
    items, _ = await _contenders(backend, _folder_of(folder, name))
    return _holder(items[0], len(items) - 1) if items else None


async def watch_holder(backend: StoreBackend, folder: str, name: str) -> AsyncGenerator[Holder | None, None]:
    """Yield the holder, then each next holder; None while there is no holder.

    Raises:
        StoreError: the store has been unreachable for 5 s, or until the caller's deadline.
    """
    path = _folder_of(folder, name)
    shown: int | None = None
    clock = asyncio.get_running_loop().time
    failing_since: float | None = None
    wait = pauses()
    while True:
        items, revision = await _contenders(backend, path)
        token = items[0].created if items else 0
        if token != shown:
            shown = token
            yield _holder(items[0], len(items) - 1) if items else None
        begun = clock()
        try:
            async with aclosing(backend.watch(path, after=revision)) as changes:
                async for change in changes:
                    if not items or (change.item is None and change.key == items[0].key):
                        break
            failing_since, wait = None, pauses()
        except CompactedError:
            continue
        except StoreError as error:
            # The list was read before. If the watch has lasted longer than the limit, this is a new outage.
            if failing_since is None or clock() - begun > PATIENCE_SECONDS:
                failing_since, wait = clock(), pauses()
            if not is_away(error) or clock() - failing_since > PATIENCE_SECONDS:
                raise
            await asyncio.sleep(wait())


async def run_as_leader(make_lock: Callable[[], Lock], function: Callable[[Lock], Awaitable[T]]) -> T:
    """Run a function when elected, cancel it when the leadership is lost, and repeat until it returns a result.

    While the store is unreachable the candidacy is repeated, up to the caller's deadline. Other errors of the store and
    errors of the function are raised.
    """
    while True:
        lock = make_lock()
        is_elected = False
        try:
            async with lock:
                is_elected = True
                return await function(lock)
        except StoreError as error:
            if not stands_again(lock, error, is_elected=is_elected):
                raise
        await asyncio.sleep(CANDIDACY_SECONDS)


def stands_again(lock: Lock, error: StoreError, *, is_elected: bool) -> bool:
    """Return whether a candidacy is repeated after an error, and log the error in this case.

    Args:
        is_elected: whether the error comes from the function, which may hold other locks and use the store.
    """
    loss = lock.lease.loss
    if is_elected:
        is_own = loss is not None and loss in (error, error.__cause__)
    else:
        is_own = is_away(error) or isinstance(error, LockLostError)
    if not is_own or seconds_left() == 0:
        return False
    logger.warning("%s leads no longer, or not yet: %s", lock.name, error)
    return True


def _folder_of(folder: str, name: str) -> str:
    """Return the prefix of the items of a lock. ConfigError: the name is not a valid key."""
    check_key(f"{folder}{name}/{'0' * _LEASE_ID_BYTES}")
    return f"{folder}{name}/"


async def _contenders(backend: StoreBackend, folder: str) -> tuple[list[Item[bytes]], int]:
    """Return the items of a lock, the holder's first, and a revision from which a watch misses no change of them."""
    items: list[Item[bytes]] = []
    revision: int | None = None
    after = ""
    while True:
        page = await finish(
            f"list of {folder!r}",
            lambda after=after: backend.list(folder, after=after),  # type: ignore[misc]
            ends_in_time=backend.limits.ends_in_time,
        )
        # Use the revision of the first page: an item that is removed between two pages is a change after it.
        revision = page.revision if revision is None else revision
        items += [item for item in page.items if "/" not in item.key[len(folder) :]]
        if not page.is_cut:
            return sorted(items, key=lambda item: item.created), revision
        after = page.items[-1].key


def _holder(item: Item[bytes], waiting: int) -> Holder:
    return Holder(item.value.decode(errors="replace"), item.created, waiting)

"""The latest list, shared by any number of watchers. A watcher may use an event loop, a thread, or polling."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Self, TypeVar

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.snapshot import Snapshot

__all__ = ["Channel", "Latest", "ServicesWatch", "Watch", "Watching"]

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds the latest value. Its publisher and watchers may run in different threads.

    Args:
        versions: yields increasing numbers for the values.
    """

    def __init__(self, versions: Iterator[int]) -> None:
        self._versions = versions
        # Re-entrant: a watch may be collected, and so be closed, on any line of the thread that holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._listeners: list[Callable[[], None]] = []
        self._latest: tuple[int, T] | None = None
        #: The error of the last query; None if it succeeded.
        self.error: Exception | None = None
        #: The error that ended all watches.
        self.failure: Exception | None = None
        #: True if the list equals the registry's last answer. False while a rule keeps endpoints after an outage or
        #: because the answer is suspicious.
        self.is_settled = True
        self.is_closed = False
        # `_is_held` is True inside `told_at_once`; `_has_news` if listeners have to be called at its end.
        self._is_held = self._has_news = False

    @property
    def latest(self) -> T | None:
        """The latest value; None before the first."""
        found = self._latest
        return None if found is None else found[1]

    def put(self, make: Callable[[int], T], is_same: Callable[[T], bool]) -> None:
        """Publish `make(number)` as the next value, unless `is_same` returns True for the latest value."""
        with self._changed:
            if self._latest is not None and is_same(self._latest[1]):
                return
            number = next(self._versions)
            self._latest = number, make(number)
            self._tell()

    def judge(self, error: Exception | None, *, is_settled: bool) -> None:
        """Set the outcome of the last query; notify the watchers if success, failure or `is_settled` changed."""
        with self._changed:
            is_same = (self.error is None, self.is_settled) == (error is None, is_settled)
            self.error, self.is_settled = error, is_settled
            if not is_same:
                self._tell()

    def close(self, failure: Exception | None = None) -> None:
        """End all watches, with an error if one is given."""
        with self._changed:
            self.failure = failure
            self.is_closed = True
            self._tell()

    @contextlib.contextmanager
    def told_at_once(self) -> Iterator[None]:
        """Notify watchers at the end of the block, so that none sees a new list together with an old error."""
        with self._changed:
            self._is_held = True
            try:
                yield
            finally:
                self._is_held, has_news, self._has_news = False, self._has_news, False
                if has_news:
                    self._tell()

    def _tell(self) -> None:
        if self._is_held:
            self._has_news = True
            return
        self._changed.notify_all()
        for listener in list(self._listeners):
            listener()

    def after(self, version: int) -> tuple[int, T] | None:
        """Return the latest value with its number if it is newer than a version."""
        latest = self._latest
        return latest if latest is not None and latest[0] > version else None

    def wake(self) -> None:
        """Wake the threads in `wait`, so that they call `is_over` again."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, version: int, timeout: float | None, is_over: Callable[[], bool]) -> tuple[int, T] | None:
        """Block until a value is newer than `version`; None after `timeout` seconds, if closed, or if `is_over()`."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while (found := self.after(version)) is None and not (self.is_closed or is_over()):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            return found

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call a function at each change from now on. The function may be called in any thread."""
        with self._changed:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Undo `add_listener`."""
        with self._changed, contextlib.suppress(ValueError):
            self._listeners.remove(listener)


class Channel(Latest[Snapshot]):
    """Holds the latest snapshot of a service."""

    def publish(self, endpoints: Sequence[Endpoint], *, is_cached: bool = False) -> None:
        """Publish a snapshot of a list, unless the list is unchanged."""
        new = tuple(endpoints)
        self.put(
            lambda version: Snapshot(version, new, is_cached),
            lambda latest: latest.endpoints == new and latest.is_cached == is_cached,
        )


class Watching(Closing, Generic[T]):
    """One watcher; see `Watch`."""

    def __init__(self, channel: Latest[T], release: Callable[[], None]) -> None:
        self._channel = channel
        self._release: Callable[[], None] | None = release
        self._seen = 0
        self._process_id = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def latest(self) -> T | None:
        """The newest snapshot; None before the first."""
        return self._channel.latest

    @property
    def error(self) -> Exception | None:
        """The error of the last query; None if it succeeded. After an error the last list stays in use."""
        return self._channel.error

    @property
    def is_settled(self) -> bool:
        """True if the list equals the registry's last answer; False in an outage, or if an answer is suspicious."""
        return self._channel.is_settled

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function after each change, in any thread, until the watch is closed. The function must not block."""
        self._listeners.append(listener)
        self._channel.add_listener(listener)

    def wait(self, timeout: float | None = None) -> T | None:
        """Block until the next snapshot; None after `timeout` seconds, or once the watch is closed."""
        if self._release is None:
            return None
        found = self._channel.wait(self._seen, timeout, lambda: self._release is None)
        if found is None:
            self._check()
            return None
        self._seen, value = found
        return value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._release is None:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            # The callback must not refer to the watch, because a watch without references closes itself.
            woken = self._woken
            self.listen(lambda: _wake(loop, woken))
        elif self._loop is not loop:
            own = f"{self._loop!r} at {id(self._loop):#x}"
            raise RuntimeError(f"this watch belongs to {own} and was used from {loop!r} at {id(loop):#x}")
        while self._release is not None:
            self._woken.clear()
            found = self._channel.after(self._seen)
            if found is not None:
                self._seen, value = found
                return value
            if self._channel.is_closed:
                self._check()
                break
            await self._woken.wait()
        raise StopAsyncIteration

    def _check(self) -> None:
        """Raise the error that ended the watch, if there is one."""
        if self._channel.failure is not None:
            raise self._channel.failure

    def close(self) -> None:
        """Stop watching. Closing twice is allowed."""
        if self._end():
            self._channel.wake()

    def _end(self) -> bool:
        """Stop watching; return whether threads of this process may be in `wait`."""
        release, self._release = self._release, None
        if release is None or self._process_id != os.getpid():
            # This is the child of a fork: threads of the parent may have held the locks, and the loop is the parent's.
            return False
        for listener in self._listeners:
            self._channel.remove_listener(listener)
        if self._loop is not None:
            _wake(self._loop, self._woken)
        release()
        return True

    def __del__(self) -> None:
        # A thread in `wait` refers to the watch, so no thread is in `wait` now and none has to be woken.
        if getattr(self, "_release", None) is not None:
            self._end()


class Watch(Watching[Snapshot]):
    """One watcher of one service.

    On an event loop, iterate it: `async for snapshot in watch`. Without a loop, `wait` blocks. Both wait for a snapshot
    newer than the last one they returned, and return the newest. Older snapshots are skipped. `latest` never waits.
    """


class ServicesWatch(Watching[tuple[str, ...]]):
    """One watcher of the names of all services, used like `Watch`: each snapshot is a sorted tuple of names."""


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> None:
    # A closed loop has no waiters.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(woken.set)

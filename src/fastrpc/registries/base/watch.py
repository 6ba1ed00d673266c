"""The latest list of one service for any number of watchers: on event loops, in threads, or by polling."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.snapshot import Snapshot

__all__ = ["Channel", "Watch"]


class Channel:
    """Holds the latest snapshot; publisher and watchers may run in different threads.

    Args:
        versions: returns the numbers of snapshots, each greater than the one before.
    """

    def __init__(self, versions: Iterator[int]) -> None:
        self._versions = versions
        # Re-entrant: a watch may be collected, and so closed, on any line of the thread that holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._listeners: list[Callable[[], None]] = []
        self.latest: Snapshot | None = None
        #: The error of the last query; None if it succeeded.
        self.error: Exception | None = None
        self.is_closed = False

    def publish(self, endpoints: Sequence[Endpoint], *, is_cached: bool = False) -> None:
        """Publish a snapshot of a list, unless the list is unchanged."""
        new = tuple(endpoints)
        with self._changed:
            if (
                self.latest is not None
                and self.latest.endpoints == new
                and self.latest.is_cached == is_cached
            ):
                return
            self.latest = Snapshot(next(self._versions), new, is_cached)
            self._tell()

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            self.is_closed = True
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        for listener in list(self._listeners):
            listener()

    def after(self, version: int) -> Snapshot | None:
        """Return the latest snapshot if it is newer than a version."""
        latest = self.latest
        return latest if latest is not None and latest.version > version else None

    def wake(self) -> None:
        """Have the threads in `wait` look whether their wait is over."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, version: int, timeout: float | None, is_over: Callable[[], bool]) -> Snapshot | None:
        """Block until a snapshot is newer than a version; None after `timeout` seconds, or if closed or over."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while (found := self.after(version)) is None and not (self.is_closed or is_over()):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            return found

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call a function at each change from now on, in any thread."""
        with self._changed:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Undo `add_listener`."""
        with self._changed, contextlib.suppress(ValueError):
            self._listeners.remove(listener)


class Watch(Closing):
    """One watcher of one service.

    On an event loop, iterate it: `async for snapshot in watch`. Without a loop, `wait` blocks. Both return the newest
    snapshot that this watch has not returned yet, the first at once if there is one; they skip those in between.
    `latest` never waits.
    """

    def __init__(self, channel: Channel, release: Callable[[], None]) -> None:
        self._channel = channel
        self._release: Callable[[], None] | None = release
        self._seen = 0
        self._process_id = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    @property
    def latest(self) -> Snapshot | None:
        """The newest snapshot; None before the first."""
        return self._channel.latest

    @property
    def error(self) -> Exception | None:
        """The error of the last query; None if it succeeded. The list stays in use meanwhile."""
        return self._channel.error

    def wait(self, timeout: float | None = None) -> Snapshot | None:
        """Block until the next snapshot; None after `timeout` seconds, or once the watch is closed."""
        if self._release is None:
            return None
        found = self._channel.wait(self._seen, timeout, lambda: self._release is None)
        if found is not None:
            self._seen = found.version
        return found

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        if self._release is None:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            # It must not reference the watch: a dropped watch closes itself.
            woken = self._woken
            self._wake = lambda: _wake(loop, woken)
            self._channel.add_listener(self._wake)
        elif self._loop is not loop:
            own = f"{self._loop!r} at {id(self._loop):#x}"
            raise RuntimeError(f"this watch belongs to {own} and was used from {loop!r} at {id(loop):#x}")
        while self._release is not None:
            self._woken.clear()
            found = self._channel.after(self._seen)
            if found is not None:
                self._seen = found.version
                return found
            if self._channel.is_closed:
                break
            await self._woken.wait()
        raise StopAsyncIteration

    def close(self) -> None:
        """Stop watching. Closing twice is fine."""
        if self._end():
            self._channel.wake()

    def _end(self) -> bool:
        """Stop watching; return whether threads of this process may be in `wait`."""
        release, self._release = self._release, None
        if release is None or self._process_id != os.getpid():
            # After a fork, threads of the parent may hold the locks, and the loop belongs to the parent.
            return False
        if self._loop is not None:
            self._channel.remove_listener(self._wake)
            _wake(self._loop, self._woken)
        release()
        return True

    def __del__(self) -> None:
        # A thread in `wait` holds the watch, so none has to wake.
        if getattr(self, "_release", None) is not None:
            self._end()


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> None:
    # A closed loop has no waiters.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(woken.set)

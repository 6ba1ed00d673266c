"""Wake handlers that stream changes until their connection drains."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

from fastrpc._core.calls.call import current_call
from fastrpc.errors import CallError
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["Wakeable", "Wakeup", "Watchers", "ended_by_drain"]


class Wakeable(Protocol):
    def wake(self) -> None:
        """Note a change; it must not block."""


class Wakeup:
    """Wakes one handler, once for all changes since its last check."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        #: Whether the connection drains, so that the stream has to end.
        self.is_draining = False

    def wake(self) -> None:
        """Let the present `wait`, or the next one, return."""
        self._woken.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Return at the next change, and once the connection drains; False if neither comes in time."""
        try:
            async with time_limit(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def _drain(self, _: "asyncio.Future[None]") -> None:
        self.is_draining = True
        self._woken.set()


class Watchers:
    """The handlers that wait for changes of one thing."""

    def __init__(self) -> None:
        self._waiting: set[Wakeable] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, watcher: Wakeable) -> None:
        """Wake a watcher at every change, until `discard`."""
        self._waiting.add(watcher)

    def discard(self, watcher: Wakeable) -> None:
        """Wake a watcher no more."""
        self._waiting.discard(watcher)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Wakeup]:
        """Yield the wake-up of the present handler, which is woken at every change until the block ends."""
        wakeup = Wakeup()
        drain = asyncio.ensure_future(current_call().draining)
        drain.add_done_callback(wakeup._drain)
        self._waiting.add(wakeup)
        try:
            yield wakeup
        finally:
            self._waiting.discard(wakeup)
            drain.cancel()

    def wake(self) -> None:
        """Wake every handler."""
        for wakeup in self._waiting:
            wakeup.wake()


def ended_by_drain() -> CallError:
    """Return the error that ends a stream whose connection drains; clients raise UnavailableError for it."""
    return CallError(Status.UNAVAILABLE, f"{current_call().method}: the server drains, and this stream ends")

"""Wake handlers that stream changes, until their connection drains."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Final, Protocol

from fastrpc._core.calls.call import Draining, current_call
from fastrpc.errors import CallError
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["Wakeable", "Wakeup", "Watchers", "ended_by_drain"]

#: The most handlers that are woken in one iteration of the loop, because each may write a long list.
_WOKEN_AT_ONCE: Final = 32


class Wakeable(Protocol):
    def wake(self) -> None:
        """Handle a change. This must not block."""


class Wakeup:
    """Wakes one handler, once for all changes since its last check."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        #: True if the connection drains, so that the stream has to end.
        self.is_draining = False

    def wake(self) -> None:
        """Make the running `wait` return, or else the next `wait`."""
        self._woken.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next change or the drain of the connection; return False after `seconds` without either."""
        try:
            async with time_limit(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def begin(self, draining: Draining) -> None:
        """Wake the handler when the connection drains."""
        draining.notify(self._drain)

    def end(self, draining: Draining) -> None:
        """Stop waking the handler."""
        draining.forget(self._drain)

    def _drain(self) -> None:
        self.is_draining = True
        self._woken.set()


class Watchers:
    """The handlers that wait for the same changes."""

    def __init__(self) -> None:
        self._waiting: set[Wakeable] = set()
        # Watchers to wake in later iterations of the loop.
        self._due: dict[Wakeable, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, watcher: Wakeable) -> None:
        """Wake a watcher at every change, until `discard`."""
        self._waiting.add(watcher)

    def discard(self, watcher: Wakeable) -> None:
        """Stop waking a watcher."""
        self._waiting.discard(watcher)
        self._due.pop(watcher, None)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Wakeup]:
        """Yield the `Wakeup` of the current handler, which every change wakes until the block ends."""
        wakeup = Wakeup()
        draining = current_call().draining
        wakeup.begin(draining)
        self._waiting.add(wakeup)
        try:
            yield wakeup
        finally:
            self.discard(wakeup)
            wakeup.end(draining)

    def wake(self) -> None:
        """Wake every handler: some now, the rest in the next iterations of the loop, so that calls can continue."""
        is_waking = bool(self._due)
        self._due |= dict.fromkeys(self._waiting)
        if not is_waking:
            self._wake_some()

    def _wake_some(self) -> None:
        for wakeup in list(itertools.islice(self._due, _WOKEN_AT_ONCE)):
            del self._due[wakeup]
            wakeup.wake()
        if self._due:
            asyncio.get_running_loop().call_soon(self._wake_some)


def ended_by_drain() -> CallError:
    """Return the error that ends a stream whose connection drains. Clients raise it as UnavailableError."""
    return CallError(Status.UNAVAILABLE, f"{current_call().method}: the server drains, and this stream ends")

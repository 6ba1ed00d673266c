"""A thread that calls functions in order and reports the end of each call to the loop.

An executor would create two futures and a lock for each call, and wait for an idle thread, which is more work than a
commit of one row.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = ["JournalThread"]

T = TypeVar("T")


class _Call(NamedTuple, Generic[T]):
    function: Callable[[], T]
    loop: asyncio.AbstractEventLoop
    on_end: Callable[[T | None, BaseException | None], None]


class JournalThread:
    """A thread that starts with its first call. It is a daemon thread, since a journal keeps only whole commits.

    Args:
        name: the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._has_begun = False

    def call(
        self, function: Callable[[], T], on_end: Callable[[T | None, BaseException | None], None]
    ) -> None:
        """Call a function after all earlier calls; then call `on_end` in the running loop with its result or error."""
        if not self._has_begun:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._has_begun = True
        self._calls.put(_Call(function, asyncio.get_running_loop(), on_end))

    def result(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call a function; return a future of its result. Cancelling the future does not stop the call."""
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def end(result: T | None, error: BaseException | None) -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(result)  # type: ignore[arg-type]
            else:
                ended.set_exception(error)

        self.call(function, end)
        return ended

    def end(self) -> None:
        """Refuse further calls. The thread ends after its queued calls."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            result, error = None, None
            try:
                result = call.function()
            except BaseException as raised:
                error = raised
            # RuntimeError: the loop was closed, so no task waits any more.
            with suppress(RuntimeError):
                call.loop.call_soon_threadsafe(call.on_end, result, error)
            # Otherwise an error would keep the frames of its call alive until the next call.
            del call, result, error

"""A loop in a thread of its own, for servers and channels of programs without one."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads, from its first use on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._is_stopped = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs."""
        with self._lock:
            return self._started()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._is_stopped:
            raise RuntimeError(f"the thread {self._name!r} has ended")
        if self._loop is None:
            started = threading.Event()
            threading.Thread(target=self._run, args=[started], name=self._name, daemon=True).start()
            started.wait()
        assert self._loop is not None
        return self._loop

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin a coroutine.

        Raises:
            RuntimeError: the thread has ended.
        """
        with self._lock:
            try:
                return asyncio.run_coroutine_threadsafe(work, self._started())
            except RuntimeError:
                work.close()
                raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, and return its result."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread; coroutines that still run are cancelled."""
        with self._lock:
            if self._loop is not None and not self._is_stopped:
                # Behind all that was submitted so far.
                self._loop.call_soon_threadsafe(self._ending.set)
            self._is_stopped = True

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        started.set()
        await self._ending.wait()

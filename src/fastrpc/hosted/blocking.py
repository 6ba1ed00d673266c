"""The blocking twin of an asynchronous object: a thread with an event loop, in which the object is entered."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from fastrpc.errors import FastRPCError
from fastrpc.user_code import without_exit

__all__ = ["BlockingLife", "BlockingThread"]

T = TypeVar("T")


class BlockingThread:
    """A thread with an event loop, for coroutines of other threads.

    Args:
        name: names the object that the thread serves in errors, such as "store".
        failure: the class of errors for a closed object.
    """

    def __init__(self, name: str, failure: type[FastRPCError]) -> None:
        self._name = name
        self._failure = failure
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        # Taken again by an iterator that the collector ends meanwhile.
        self._lock = threading.RLock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fastrpc {name}", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, which has the deadline of the calling thread.

        Raises:
            RuntimeError: this process was forked from the one that began the thread.
            FastRPCError: of the class of failures. Another thread has closed the object, also meanwhile.
        """
        result = self.begin(work)
        try:
            return result.result()
        except concurrent.futures.CancelledError:
            raise self._failure(f"the {self._name} was closed meanwhile", processed="unknown") from None
        except BaseException:
            # An interrupt of the waiting thread ends the coroutine, too.
            result.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Begin a coroutine without waiting for it. Errors as of `run`, but for an end meanwhile."""
        if self.is_of_parent:
            work.close()
            raise RuntimeError(f"the {self._name} was opened before a fork; open it in each process")
        # Coroutines that begin before the end are ended by it, and none begins later.
        with self._lock:
            if self._is_closed:
                work.close()
                raise self._failure(f"the {self._name} is closed", processed="no")
            return asyncio.run_coroutine_threadsafe(without_exit(work, f"the {self._name}"), self._loop)

    def each(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield the values of an asynchronous generator. Errors as of `run`."""

        async def take() -> T:
            return await anext(source)

        async def end() -> None:
            await source.aclose()

        try:
            while True:
                yield self.run(take())
        finally:
            # The collector may end it, in any thread and after the object was closed: without a wait.
            with contextlib.suppress(self._failure, RuntimeError):
                self.begin(end())

    @property
    def is_of_parent(self) -> bool:
        """Whether the thread stayed with the process from which this one was forked."""
        return self._process != os.getpid()

    def close(self) -> None:
        """End the thread, and what other threads wait for."""
        with self._lock:
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)


class BlockingLife:
    """The life of a blocking twin: its asynchronous original is entered in a thread for the time of a `with`.

    Args:
        original: is entered and left.
        name: names it in errors and in the function that opens it: "store" for `open_store`.
        failure: the class of errors for one that is not open.
    """

    def __init__(
        self, original: AbstractAsyncContextManager[Any], name: str, failure: type[FastRPCError]
    ) -> None:
        self._original = original
        self._name = name
        self._failure = failure
        self._thread: BlockingThread | None = None

    @property
    def thread(self) -> BlockingThread:
        """The thread of the original, to run its coroutines.

        Raises:
            FastRPCError: of the class of failures. It is not open.
        """
        if self._thread is None:
            raise self._failure(
                f"the {self._name} is not open", processed="no", hint=f"write with open_{self._name}(…)"
            )
        return self._thread

    def enter(self) -> None:
        """Begin the thread, and enter the original in it."""
        if self._thread is not None:
            raise RuntimeError(f"the {self._name} is open already")
        thread = BlockingThread(self._name, self._failure)
        try:
            thread.run(self._original.__aenter__())
        except BaseException:
            thread.close()
            raise
        self._thread = thread

    def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the original, and end the thread; in a forked process do nothing."""
        thread, self._thread = self._thread, None
        if thread is None or thread.is_of_parent:
            return
        try:
            thread.run(self._original.__aexit__(kind, error, traceback))
        finally:
            thread.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine of the original. Errors as of `thread` and of its `run`."""
        try:
            thread = self.thread
        except self._failure:
            work.close()
            raise
        return thread.run(work)

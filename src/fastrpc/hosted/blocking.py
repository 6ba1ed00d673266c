"""The base of blocking variants: a thread with an event loop, in which the asynchronous object is entered."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from fastrpc.errors import FastRPCError
from fastrpc.user_code import without_exit

__all__ = ["BlockingLife", "BlockingThread"]

T = TypeVar("T")


class BlockingThread:
    """A thread with an event loop that runs coroutines for other threads.

    Args:
        name: the name of the object in error texts, such as "store".
        failure: the class of the error that is raised after the object was closed.
    """

    def __init__(self, name: str, failure: type[FastRPCError]) -> None:
        self._name = name
        self._failure = failure
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        # Reentrant: the garbage collector may close an iterator in a thread that holds the lock.
        self._lock = threading.RLock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fastrpc {name}", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, unwanted: Callable[[T], None] | None = None) -> T:
        """Run a coroutine and return its result. The deadline of the calling thread applies.

        If the calling thread is interrupted, the coroutine is cancelled, and the interrupt is raised after its end.

        Args:
            unwanted: called in the loop with the result of a coroutine that returned in spite of the cancellation.

        Raises:
            RuntimeError: this process was forked from the process that started the thread.
            FastRPCError: of the class `failure`: the object is closed, or another thread closes it during the wait.
        """
        begun = self.begin(work)
        try:
            return begun.result.result()
        except concurrent.futures.CancelledError:
            raise self._failure(f"the {self._name} was closed during the call", processed="unknown") from None
        except BaseException as error:
            if not begun.has_raised(error):
                self._give_up(begun, unwanted)
            raise

    def _give_up(self, begun: "_Begun[T]", unwanted: Callable[[T], None] | None) -> None:
        """Cancel a coroutine whose waiting thread was interrupted, and wait for its end."""
        is_over = threading.Event()
        with self._lock:
            # `close` has cancelled all coroutines.
            if self._is_closed:
                return
            self._loop.call_soon_threadsafe(begun.give_up, unwanted, is_over)
        is_over.wait()

    def begin(self, work: Coroutine[Any, Any, T]) -> "_Begun[T]":
        """Start a coroutine without waiting for it. Raises the errors of `run`, except for a later close."""
        if self.is_of_parent:
            work.close()
            raise RuntimeError(f"the {self._name} was opened before a fork; open it in each process")
        # Hold the lock: `close` cancels coroutines that have started, and none may start afterwards.
        with self._lock:
            if self._is_closed:
                work.close()
                raise self._failure(f"the {self._name} is closed", processed="no")
            begun = _Begun(without_exit(work, f"the {self._name}"))
            self._loop.call_soon_threadsafe(begun.start)
            return begun

    def each(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield the values of an asynchronous generator. Raises the errors of `run`."""

        async def take() -> T:
            return await anext(source)

        async def end() -> None:
            await source.aclose()

        try:
            while True:
                yield self.run(take())
        finally:
            # Do not wait: the garbage collector may close the generator in any thread, even after `close`.
            with contextlib.suppress(self._failure, RuntimeError):
                self.begin(end())

    @property
    def is_closed(self) -> bool:
        """True if the thread has ended or is ending."""
        return self._is_closed

    @property
    def is_of_parent(self) -> bool:
        """True if the thread belongs to the parent of this forked process."""
        return self._process != os.getpid()

    def close(self) -> None:
        """End the thread, and cancel everything that other threads wait for."""
        with self._lock:
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Begun(Generic[T]):
    """A coroutine in the loop of a thread, and its result for another thread. The methods run in the loop."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self.result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def has_raised(self, error: BaseException) -> bool:
        """Return whether the coroutine has raised this error. Any thread may call it."""
        return self.result.done() and not self.result.cancelled() and self.result.exception() is error

    def start(self) -> None:
        """Start the coroutine."""
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._end)

    def give_up(self, unwanted: Callable[[T], None] | None, is_over: threading.Event) -> None:
        """Cancel the coroutine. After its end pass its result, if any, to `unwanted`, and set `is_over`."""

        def end(task: asyncio.Task[T]) -> None:
            try:
                if unwanted is not None and not task.cancelled() and task.exception() is None:
                    unwanted(task.result())
            finally:
                is_over.set()

        assert self._task is not None
        self._task.cancel()
        self._task.add_done_callback(end)

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.result.cancel()
        elif (error := task.exception()) is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)


class BlockingLife:
    """The life cycle of a blocking variant: during a `with` block, a thread has entered the asynchronous object.

    Args:
        original: the asynchronous object.
        name: the name of the object in error texts and in the function that opens it: "store" for `open_store`.
        failure: the class of the error that is raised after the object was closed.
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
        """The thread that runs the coroutines of the original.

        Raises:
            FastRPCError: of the class `failure`: the object is closed.
        """
        if self._thread is None:
            raise self._failure(
                f"the {self._name} is closed", processed="no", hint=f"write with open_{self._name}(…)"
            )
        return self._thread

    def enter(self) -> None:
        """Start the thread, and enter the original in it."""
        if self._thread is not None:
            raise RuntimeError(f"the {self._name} is open already")
        thread = BlockingThread(self._name, self._failure)
        is_entered = threading.Event()
        try:
            thread.run(self._original.__aenter__(), unwanted=lambda original: is_entered.set())
        except BaseException as error:
            # Leave the original if an interrupt arrives after it was entered.
            try:
                if is_entered.is_set():
                    thread.run(self._original.__aexit__(type(error), error, error.__traceback__))
            finally:
                thread.close()
            raise
        self._thread = thread

    def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the original, and end the thread. In a forked process do nothing."""
        thread, self._thread = self._thread, None
        if thread is None or thread.is_of_parent:
            return
        try:
            thread.run(self._original.__aexit__(kind, error, traceback))
        finally:
            thread.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the original and return its result. Raises the errors of `thread` and its `run`."""
        try:
            thread = self.thread
        except self._failure:
            work.close()
            raise
        return thread.run(work)

"""A loop in a separate thread, for servers and channels of programs without a loop."""

import asyncio
import threading
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from fastrpc.grpc.callback_thread import CallbackThread
from fastrpc.user_code import without_exit

__all__ = ["LoopThread", "ThreadEndedError"]

T = TypeVar("T")


class ThreadEndedError(RuntimeError):
    """The thread of a loop has ended."""


class LoopThread:
    """Runs coroutines for other threads. The thread starts at the first use.

    Args:
        close: returns a coroutine. If this object is freed before `stop`, the thread runs this coroutine and ends;
            without `close` the thread continues to run.
        owner: the name of the owning object, for the warning that it was not closed.
    """

    def __init__(
        self,
        name: str,
        *,
        close: Callable[[], Coroutine[Any, Any, object]] | None = None,
        owner: str = "",
    ) -> None:
        self._name = name
        self._close = close
        self._owner = owner
        #: A second thread calls the program's functions, so that the loop need not wait for them. It ends after the
        #: loop.
        self.callbacks = CallbackThread(f"{name} callbacks")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._life = _Life()
        self._is_stopped = False
        self._begun: set[Future[Any]] = set()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._is_stopped:
            raise ThreadEndedError(f"the thread {self._name!r} has ended")
        if self._life.loop is None:
            started = threading.Event()
            # The thread holds no reference to this object, so that the object is freed when no other code refers to it.
            self._thread = threading.Thread(
                target=self._life.run, args=[started, self.callbacks], name=self._name, daemon=True
            )
            self._thread.start()
            started.wait()
        assert self._life.loop is not None
        return self._life.loop

    def __del__(self) -> None:
        # In a forked child the parent's thread does not run.
        is_running = self._thread is not None and self._thread.is_alive()
        if self._close is not None and is_running and not self._is_stopped:
            self._life.last_work = self._close
            self.stop()
            # The warning comes last: a filter may turn it into an exception.
            warnings.warn(f"unclosed {self._owner}", ResourceWarning, source=self, stacklevel=2)

    def is_current(self) -> bool:
        """Return whether this code runs in the thread of the loop, where it must not wait for the loop."""
        return threading.current_thread() is self._thread

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop, from any thread.

        Raises:
            ThreadEndedError: the thread has ended.
        """
        with self._lock:
            self._started().call_soon_threadsafe(function, *arguments)

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin a coroutine.

        Raises:
            ThreadEndedError: the thread has ended.
        """
        with self._lock:
            contained = without_exit(work, self._name)
            try:
                return asyncio.run_coroutine_threadsafe(contained, self._started())
            except RuntimeError:
                contained.close()
                work.close()
                raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, and return its result.

        Raises:
            ThreadEndedError: the thread has ended.
            RuntimeError: the caller is in the thread of the loop.
        """
        if self.is_current():
            work.close()
            raise self._waits_for_itself()
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    # Coroutines that need not wait for anything if they run after the thread has ended

    def ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of a coroutine. If the thread ends meanwhile, a new coroutine of `work` runs here.

        Raises:
            RuntimeError: the caller is in the thread of the loop, and the coroutine has to wait.
        """
        if not self.is_current():
            try:
                return self.run(work())
            except (ThreadEndedError, CancelledError):
                if not self._is_stopped:
                    raise
            # Wait for the thread's end: the last steps of the loop may still change values that the work reads.
            if self._thread is not None:
                self._thread.join()
        return self._at_once(work())

    def begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "Future[T]":
        """Start a coroutine and return its future, which is done at the latest when the thread ends."""
        try:
            found = self.submit(work())
        except ThreadEndedError:
            found = Future()
        else:
            # A loop has only weak references to its tasks: a task in a cycle with the object that it waits for would be
            # collected.
            self._begun.add(found)
            found.add_done_callback(self._begun.discard)
            return found
        try:
            found.set_result(self.ask(work))
        except asyncio.CancelledError:
            found.cancel()
        except Exception as error:
            found.set_exception(error)
        return found

    def _at_once(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that need not wait, and return its result."""
        try:
            work.send(None)
        except StopIteration as end:
            found: T = end.value
            return found
        work.close()
        raise self._waits_for_itself()

    def _waits_for_itself(self) -> RuntimeError:
        return RuntimeError(
            f"the thread {self._name!r} would wait for itself: "
            "coders and credentials of a channel may not call the channel"
        )

    def stop(self) -> None:
        """End the thread, and cancel coroutines that still run."""
        with self._lock:
            if self._life.loop is not None and not self._is_stopped:
                # The loop runs this call after all coroutines submitted earlier have started.
                self._life.loop.call_soon_threadsafe(self._life.ending.set)
            self._is_stopped = True


class _Life:
    """The code that the thread itself runs until it is stopped."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ending = asyncio.Event()
        self.last_work: Callable[[], Coroutine[Any, Any, object]] | None = None

    def run(self, started: threading.Event, callbacks: CallbackThread) -> None:
        """Run the loop in this thread."""
        try:
            asyncio.run(self._serve(started))
        finally:
            callbacks.end()

    async def _serve(self, started: threading.Event) -> None:
        self.loop = asyncio.get_running_loop()
        started.set()
        await self.ending.wait()
        if self.last_work is not None:
            await self.last_work()

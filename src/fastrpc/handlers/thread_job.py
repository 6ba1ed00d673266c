"""One call of a `def` handler, as the thread pool runs it.

A thread cannot be stopped. When the deadline passes, the caller is answered immediately (`leave`), and the thread's
outcome will be dropped. For the server the call lasts until the thread has returned.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.calls.invocation import run_handler
from fastrpc._core.server.served_call import ServerCall
from fastrpc.errors import CallError
from fastrpc.handlers.thread_pool import ThreadPool
from fastrpc.status import Status

__all__ = ["AwaitedJob", "CallJob", "ThreadJob", "renamed", "report_dropped"]

logger = logging.getLogger("fastrpc.server")


class CallJob:
    """A function that runs in a thread for a call. The job is notified when the call's deadline passes."""

    __slots__ = ("_call", "is_cancelled")

    def __init__(self, call: ServerCall) -> None:
        #: Whether the caller no longer waits.
        self.is_cancelled = False
        self._call = call
        call._thread_job = self

    def leave(self) -> bool:
        """Record that the caller was answered at its deadline. Return whether the function may have started."""
        raise NotImplementedError

    def end(self) -> None:
        """Remove the job from the call, unless the call has a newer job."""
        if self._call._thread_job is self:
            self._call._thread_job = None


class ThreadJob(CallJob):
    """One call of a `def` handler, for the thread pool."""

    __slots__ = (
        "_context",
        "_deliver",
        "_error",
        "_given",
        "_handler",
        "_has_begun",
        "_is_left",
        "_value",
    )

    def __init__(self, call: ServerCall, handler: Callable[..., Any], deliver: Callable[..., object]) -> None:
        self._has_begun = False
        self._is_left = False
        super().__init__(call)
        self._handler = handler
        # The call drops its arguments when it ends, which may be before its thread ends.
        self._given = call.given
        self._deliver = deliver
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def expired(self) -> bool:
        """Whether the function must not start, because the caller no longer waits or its identity has expired."""
        return self.is_cancelled or self._call.remaining() == 0 or self._call._has_lapsed()

    def run(self) -> None:
        """Call the handler; in a thread of the pool."""
        # Set before `is_cancelled` is checked. `leave` has the opposite order, so at least one side notices the other.
        self._has_begun = True
        if self.is_cancelled:
            self.refuse("its caller no longer waits for it")
            return
        try:
            self._value = self._context.run(run_handler, self._call, self._handler, self._given)
        except StopIteration as error:
            # Futures do not accept StopIteration. Python replaces a StopIteration raised in a coroutine in the same
            # way.
            self._error = renamed(self._call, error)
        except KeyboardInterrupt as error:
            # Ctrl-C reaches only the main thread. Code in this thread raised the exception, and it must not end the
            # process.
            self._error = renamed(self._call, error)
        except BaseException as error:
            self._error = error

    def refuse(self, reason: str) -> None:
        """Record the error of a job that the pool did not start."""
        self._call.never_started = True
        if self._call.is_expired or self._call.remaining() == 0:
            # Check the deadline before `is_cancelled`, because a deadline sets `is_cancelled` as well.
            text = f"{self._call.method}: its deadline passed before a thread was free"
            self._error = CallError(Status.DEADLINE_EXCEEDED, text, processed="no")
        elif self.is_cancelled:
            self._error = CallError(Status.CANCELLED, f"{self._call.method} was cancelled", processed="no")
        elif self._call._has_lapsed():
            text = f"{self._call.method}: the credential has expired"
            self._error = CallError(Status.UNAUTHENTICATED, text, processed="no")
        else:
            count_refusal("queue")
            text = f"{self._call.method} was not started: {reason}"
            self._error = CallError(Status.RESOURCE_EXHAUSTED, text, processed="no")

    def leave(self) -> bool:
        self.is_cancelled = True
        # Read the flag once: the thread may start meanwhile, and both values must agree.
        has_begun = self._is_left = self._has_begun
        return has_begun

    def done(self) -> None:
        """Answer; on the loop."""
        self.end()
        if self._is_left:
            report_dropped(self._call, self._error)
            self._value, self._error = None, asyncio.CancelledError()
        self._deliver(self._call, self._value, self._error)


class AwaitedJob(ThreadJob):
    """A job that a coroutine waits for: the handler of a stream, or of a call inside interceptors.

    The thread cannot be stopped. A cancelled coroutine waits until the thread has returned, so that the call keeps its
    slot, a drain waits for the call, and the sources stay open.
    """

    __slots__ = ("_is_over", "_loop", "_waiter", "_workers")

    def __init__(self, call: ServerCall, handler: Callable[..., Any], workers: ThreadPool) -> None:
        super().__init__(call, handler, self._ended)
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False

    async def result(self) -> Any:
        """Run the handler; return its result, or raise its exception."""
        self._workers.submit(self, priority=self._call.priority)
        try:
            while not self._is_over:
                await self._change()
        except BaseException as error:
            await self._stop(error)
            raise
        if self._error is not None:
            raise self._error
        return self._value

    async def _stop(self, error: BaseException) -> None:
        """Cancel the job and wait for its end. If it raised another error than the cancellation, raise that error."""
        self._cancel()
        while not self._is_over and not isinstance(error, GeneratorExit):
            try:
                await self._change()
            except asyncio.CancelledError:
                if self._workers.is_closed:
                    # The pool is closed because the loop is about to end. Threads may run longer, so do not wait.
                    break
        if self._error is not None and not isinstance(self._error, asyncio.CancelledError):
            raise self._error from error

    def _cancel(self) -> None:
        """Make the thread end at its next check."""
        self.is_cancelled = True

    async def _change(self) -> None:
        """Return after the job has ended or its thread has notified the loop."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _ended(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        self._is_over = True
        # Break reference cycles: the handler and the delivery may refer to this object.
        del self._handler, self._deliver
        self._wake()


def report_dropped(call: ServerCall, error: BaseException | None) -> None:
    """Log an error that no caller gets, because the call was given up before."""
    if error is not None and not isinstance(error, CallError | asyncio.CancelledError):
        logger.error("%s failed after it was given up", call.method, exc_info=error)


def renamed(call: ServerCall, error: BaseException) -> RuntimeError:
    """Return a RuntimeError in place of an error that has a special meaning for loops and futures."""
    renamed = RuntimeError(f"{call.method} raised {type(error).__name__}")
    renamed.__cause__ = error
    return renamed

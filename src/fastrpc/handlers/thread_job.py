"""One call of a `def` handler, as the thread pool runs it.

A thread cannot be stopped. When the deadline passes, the call asks its job to `leave`: the caller is answered at once,
and the outcome of the thread is dropped. For the server the call lasts until the thread has returned.
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
    """A function that runs in a thread for a call; it is notified when the call's deadline passes."""

    __slots__ = ("_call", "is_cancelled")

    def __init__(self, call: ServerCall) -> None:
        #: Whether its caller no longer waits.
        self.is_cancelled = False
        self._call = call
        call._thread_job = self

    def leave(self) -> bool:
        """Note that the caller was answered because its deadline passed; return whether the function may have begun."""
        raise NotImplementedError

    def end(self) -> None:
        """Remove the job from the call, unless the call has another job meanwhile."""
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
        """Whether the caller no longer waits, or has lost its identity; if so, the function does not start."""
        return self.is_cancelled or self._call.remaining() == 0 or self._call._has_lapsed()

    def run(self) -> None:
        """Call the handler; in a thread of the pool."""
        # This comes before the check of `is_cancelled`, and `leave` uses the opposite order, so at least one side sees
        # the other.
        self._has_begun = True
        if self.is_cancelled:
            self.refuse("its caller no longer waits for it")
            return
        try:
            self._value = self._context.run(run_handler, self._call, self._handler, self._given)
        except StopIteration as error:
            # A future does not accept it. Python replaces a StopIteration that leaves a coroutine in the same way.
            self._error = renamed(self._call, error)
        except KeyboardInterrupt as error:
            # Ctrl-C reaches the main thread only: code in this thread raised it, which must not end the process.
            self._error = renamed(self._call, error)
        except BaseException as error:
            self._error = error

    def refuse(self, reason: str) -> None:
        """Note that the pool did not start the job."""
        self._call.never_started = True
        if self._call.is_expired or self._call.remaining() == 0:
            # A deadline stops a call just as its caller can.
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
        # The flag is read once: the thread may begin meanwhile, and both results have to agree.
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
    """A job for which a coroutine waits: for a stream, or inside interceptors.

    Its thread cannot be stopped. A cancelled coroutine waits until the thread has returned, so that the call keeps its
    slot, and a drain and the sources wait for the thread.
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
        """Cancel the job and wait for its end; raise the error that it raised instead of its cancellation."""
        self._cancel()
        while not self._is_over and not isinstance(error, GeneratorExit):
            try:
                await self._change()
            except asyncio.CancelledError:
                if self._workers.is_closed:
                    # The loop is about to end, and threads may outlast it.
                    break
        if self._error is not None and not isinstance(self._error, asyncio.CancelledError):
            raise self._error from error

    def _cancel(self) -> None:
        """Have the thread end at its next check."""
        self.is_cancelled = True

    async def _change(self) -> None:
        """Return once the job has ended, or its thread reported something."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _ended(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        self._is_over = True
        # The handler and the delivery refer to this object as well.
        del self._handler, self._deliver
        self._wake()


def report_dropped(call: ServerCall, error: BaseException | None) -> None:
    """Log an error that no caller gets, as the call was given up before."""
    if error is not None and not isinstance(error, CallError | asyncio.CancelledError):
        logger.error("%s failed after it was given up", call.method, exc_info=error)


def renamed(call: ServerCall, error: BaseException) -> RuntimeError:
    """Return an error that loops and futures accept, for an error to which they give a special meaning."""
    renamed = RuntimeError(f"{call.method} raised {type(error).__name__}")
    renamed.__cause__ = error
    return renamed

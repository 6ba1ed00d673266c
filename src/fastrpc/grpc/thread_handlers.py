"""Run servicers' plain `def` functions in threads of the server, or of a given executor.

::

    the loop                         a thread
    threaded(…) ──► job ───────────► function(request, context)
                                        for request in BlockingRequests ──► the loop: the next message
    ThreadMessages ◄─── at most 16 ──── for message in its generator

A thread cannot be stopped: a cancelled call keeps its slot until its function has returned, even if its caller was
answered when the deadline passed. Callbacks of the context are called immediately.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import Any

from fastrpc._core.server.served_call import ServerCall
from fastrpc.errors import CallError, StreamEndedError
from fastrpc.grpc.contexts import ThreadContext
from fastrpc.grpc.faults import ITERATING, note_stage
from fastrpc.handlers.thread_job import CallJob, report_dropped
from fastrpc.rpc.signature import Kind
from fastrpc.user_code import contained

__all__ = ["BlockingRequests", "ThreadMessages", "in_thread", "threaded"]

#: The most messages between a thread and the loop, in either direction.
MESSAGES = 16


def threaded(kind: Kind, function: Callable[[Any, Any], Any], servicing: Any) -> Callable[..., Any]:
    """Return a function for the loop that runs a plain `def` in a thread. `servicing` is a `Servicing`."""
    executor = servicing.executor
    takes_stream = kind in {"client_stream", "both_ways"}

    def requests_of(given: Any, context: ThreadContext) -> Any:
        return BlockingRequests(given, context) if takes_stream else given

    async def answer(request: Any, context: ThreadContext) -> Any:
        return await in_thread(partial(function, requests_of(request, context), context), context, executor)

    def messages(request: Any, context: ThreadContext) -> ThreadMessages:
        call = partial(function, requests_of(request, context), context)
        return ThreadMessages(call, context, executor, none_ends=servicing.faults.ends_quietly)

    return answer if kind in {"unary", "client_stream"} else messages


async def in_thread(function: Callable[[], Any], context: ThreadContext, executor: Executor | None) -> Any:
    """Run a function in a thread; wait for its end even if the call is cancelled."""
    job = asyncio.ensure_future(_job(partial(_contained, context.call.method, function), context, executor))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        # The thread may wait for the context or the job, so both are ended first.
        context.finish()
        job.cancel()
        await _settled(job)
        raise


def _job(
    function: Callable[[], Any], context: ThreadContext, executor: Executor | None
) -> Coroutine[Any, Any, Any]:
    if executor is not None:
        return _submitted(context.call, executor, partial(contextvars.copy_context().run, function))
    call = context.call
    job: Coroutine[Any, Any, Any] = call.connection.gate.dispatcher.in_thread(call, function)
    return job


class _SubmittedJob(CallJob):
    """A function in an executor, cancelled if it has not started by its deadline."""

    __slots__ = ("_future",)

    def __init__(self, call: ServerCall, future: "Future[Any]") -> None:
        super().__init__(call)
        self._future = future

    def leave(self) -> bool:
        return not self._future.cancel()


async def _submitted(call: ServerCall, executor: Executor, function: Callable[[], Any]) -> Any:
    """Run a function in an executor. If this is cancelled before the function starts, the function does not run."""
    future = executor.submit(function)
    job = _SubmittedJob(call, future)
    waiting = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not future.cancel():
            await _settled(waiting)
            report_dropped(call, waiting.exception())
        raise
    finally:
        job.end()


def _contained(method: str, function: Callable[[], Any]) -> Any:
    """Call a servicer's function. Convert exceptions that control loops, such as SystemExit, to ordinary errors."""
    with contained(method):
        return function()


async def _settled(future: "asyncio.Future[Any]") -> None:
    """Wait until a future is done, whatever its outcome, and despite cancellations."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()


class BlockingRequests:
    """The messages of the caller's stream, for a thread: an iterator that waits."""

    def __init__(self, stream: Any, context: ThreadContext) -> None:
        self._stream = stream
        self._context = context
        self._taken: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._taken:
            try:
                self._taken.extend(self._context.on_loop(self._stream.receive_many, MESSAGES))
            except StreamEndedError:
                raise StopIteration from None
            except asyncio.CancelledError:
                raise RuntimeError(f"{self._context.call.method}: its caller has left") from None
            except CallError as error:
                if not self._context.takes_over(error):
                    raise
                raise StopIteration from None
        return self._taken.popleft()


class ThreadMessages:
    """The messages that a generator in a thread yields, for the loop."""

    def __init__(
        self,
        function: Callable[[], Any],
        context: ThreadContext,
        executor: Executor | None,
        *,
        none_ends: bool = False,
    ) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._messages: deque[Any] = deque()
        self._room = threading.Semaphore(MESSAGES)
        self._changed = asyncio.Event()
        self._is_wanted = True
        self._none_ends = none_ends
        self._is_iterating = False
        self._job = asyncio.ensure_future(in_thread(partial(self._run, function), context, executor))
        self._job.add_done_callback(lambda _: self._changed.set())

    def _run(self, function: Callable[[], Any]) -> None:
        """Read the generator's messages in a thread, until it ends or its messages are not wanted any more."""
        messages = function()
        if messages is None and not self._none_ends:
            return
        self._is_iterating = True
        try:
            if messages is None:
                raise TypeError("'NoneType' object is not an iterator")
            for message in messages:
                if message is None and self._none_ends:
                    return
                self._room.acquire()
                if not self._is_wanted:
                    return
                self._messages.append(message)
                self._loop.call_soon_threadsafe(self._changed.set)
        finally:
            close = getattr(messages, "close", None)
            if close is not None:
                close()

    def __aiter__(self) -> "ThreadMessages":
        return self

    async def __anext__(self) -> Any:
        while not self._messages:
            if self._job.done():
                try:
                    self._job.result()
                except Exception as error:
                    if self._is_iterating:
                        note_stage(error, ITERATING)
                    raise
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        self._room.release()
        return self._messages.popleft()

    async def aclose(self) -> None:
        """End the generator, and wait for its thread."""
        self._is_wanted = False
        self._room.release()
        if not self._job.done():
            self._context.finish()
            self._job.cancel()
        await _settled(self._job)

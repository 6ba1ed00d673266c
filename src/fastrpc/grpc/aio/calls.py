"""Calls of a channel: each starts when it is made, and may be awaited, read and written, or dropped.

::

    multicallable(request) ──► UnaryUnaryCall     sends at once, or a task awaits `client.call`
                               StreamCall         a task begins a `Stream`, another one sends an iterable
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import grpc
from grpc import aio

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.grpc.details import encode_details
from fastrpc._core.payload.metadata import split_answer
from fastrpc.errors import CallError, FastRPCError, StreamEndedError
from fastrpc.grpc.grpcio_contexts import code_of
from fastrpc.grpc.metadata import DETAILS_KEY, pairs_in
from fastrpc.peers.stream import Stream
from fastrpc.status import Status

__all__ = ["StreamStreamCall", "StreamUnaryCall", "UnaryStreamCall", "UnaryUnaryCall", "rpc_error"]

logger = logging.getLogger("fastrpc.grpc")

CANCELLED_HERE = "Locally cancelled by application!"
MIXED = "a call is either iterated, or read and written by hand"


def _metadata_in(block: bytes) -> aio.Metadata:
    """Return metadata that came as grpc.aio has it."""
    return aio.Metadata(*map(tuple, pairs_in(block)))


def _trailing_in(block: bytes, error: FastRPCError | None) -> aio.Metadata:
    """Return trailing metadata with the details of an error."""
    found = _metadata_in(block)
    details = None if error is None else getattr(error, "details", None)
    if error is not None and details is not None:
        found.add(DETAILS_KEY, encode_details(error.status, error.message, details))
    return found


def rpc_error(error: FastRPCError, initial: bytes = b"", trailing: bytes = b"") -> aio.AioRpcError:
    """Return the error of grpc.aio for ours."""
    found = aio.AioRpcError(
        code_of(error.status or Status.UNKNOWN),
        _metadata_in(initial),
        _trailing_in(trailing, error),
        details=error.message,
        debug_error_string=f"{type(error).__name__}: {error}",
    )
    found.__cause__ = error
    return found


class _Call(aio.Call):  # type: ignore[misc]
    """The part of a call that is the same for all kinds."""

    _error: FastRPCError | None = None
    #: Whether this side cancelled it.
    _is_cancelled_here = False
    #: Our call: of a stream, the one that stands for all of its attempts.
    _call: AwaitedCall

    # Done by each kind

    def _stop(self) -> None:
        raise NotImplementedError

    async def _ended(self) -> None:
        """Return once the call has ended."""
        raise NotImplementedError

    def done(self) -> bool:
        raise NotImplementedError

    def _blocks(self) -> tuple[bytes, bytes]:
        """Return initial and trailing metadata, encoded, as far as they came."""
        raise NotImplementedError

    # grpc.aio.Call

    def cancel(self) -> bool:
        if self.done():
            return False
        self._is_cancelled_here = True
        self._stop()
        return True

    def cancelled(self) -> bool:
        return self.done() and self._status() is Status.CANCELLED

    def time_remaining(self) -> float | None:
        return self._call.remaining()

    async def initial_metadata(self) -> aio.Metadata:
        await self._ended()
        return _metadata_in(self._blocks()[0])

    async def trailing_metadata(self) -> aio.Metadata:
        await self._ended()
        return _trailing_in(self._blocks()[1], self._error)

    async def code(self) -> grpc.StatusCode:
        await self._ended()
        return code_of(self._status())

    async def details(self) -> str:
        await self._ended()
        if self._is_cancelled_here:
            return CANCELLED_HERE
        return "" if self._error is None else self._error.message

    async def debug_error_string(self) -> str:
        """Return a longer text of the error."""
        await self._ended()
        return "" if self._error is None else f"{type(self._error).__name__}: {self._error}"

    def _status(self) -> Status:
        if self._is_cancelled_here:
            return Status.CANCELLED
        return Status.OK if self._error is None else self._error.status or Status.UNKNOWN

    def _failure(self) -> BaseException | None:
        """Return the error to raise for the end of the call."""
        if self._is_cancelled_here:
            return asyncio.CancelledError()
        return None if self._error is None else rpc_error(self._error, *self._blocks())


class UnaryUnaryCall(_Call, aio.UnaryUnaryCall):  # type: ignore[misc]
    """A call with one request and one answer.

    No task drives it unless its first attempt needs more work: a future tells of the end, and the answer is
    decoded for the first that asks.

    Args:
        under_way: the calls of its channel by their futures: it is one of them until its end.
    """

    #: The task that makes the call where there is more to it than one attempt on a connection that is there.
    _task: "asyncio.Task[None] | None" = None
    #: Whether `_answer` or `_error` is there.
    _is_taken = False
    _answer: Any = None

    def __init__(self, call: AwaitedCall, under_way: "dict[asyncio.Future[None], UnaryUnaryCall]") -> None:
        self._call = call
        try:
            future = call._start(self._go_on)
        except Exception as error:
            future = asyncio.get_running_loop().create_future()
            future.set_result(None)
            self._fail(error)
        # The task of a compressed answer is made in a turn of the connection, whose context is another one.
        self._context = copy_context()
        if future is None:
            future = self._future = asyncio.get_running_loop().create_future()
            self._go_on()
        self._future = future
        under_way[future] = self
        future.add_done_callback(under_way.pop)

    def _go_on(self) -> None:
        """Make the call, or the rest of it, in a task."""
        if not self._future.done():
            # A task takes a copy of the context that it is made in.
            self._task = self._context.run(asyncio.get_running_loop().create_task, self._run())
            self._task.add_done_callback(self._task_ended)

    async def _run(self) -> None:
        try:
            self._answer = await self._call
            self._is_taken = True
        except Exception as error:
            self._fail(error)
        # No callback of the task does that: it would cost a turn of the loop.
        if not self._future.done():
            self._future.set_result(None)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        """Note the end of a task that something cancelled, perhaps before its first step."""
        if task.cancelled():
            self._stop()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, FastRPCError):
            error = CallError(Status.INTERNAL, f"{type(error).__name__}: {error}")
        self._error = error.with_traceback(None)
        self._is_taken = True

    def _take(self) -> None:
        """Take the answer, or the error, now that the future is done."""
        if self._future.cancelled():
            self._is_cancelled_here = True
        elif not self._is_taken:
            try:
                self._answer = self._call._take()
                self._is_taken = True
            except Exception as error:
                self._fail(error)

    def __await__(self) -> Generator[Any, None, Any]:
        future = self._future
        if not future.done():
            try:
                yield from future
            except asyncio.CancelledError:
                # An answer that came in the same turn stays there to be taken.
                if not future.done() or future.cancelled():
                    self._stop()
                raise
        self._take()
        if self._is_cancelled_here or self._error is not None:
            failure = self._failure()
            assert failure is not None
            raise failure
        return self._answer

    # Channels of threads ask both from other threads: neither decodes the answer, whose error would be another one.

    def done(self) -> bool:
        return self._future.done()

    def cancelled(self) -> bool:
        return self._future.cancelled() or super().cancelled()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self.done():
            callback(self)
        else:
            self._future.add_done_callback(lambda _: callback(self))

    def _stop(self) -> None:
        if self._task is None:
            self._call.close()
        elif not self._task.done():
            self._task.cancel()
        else:
            # It was perhaps cancelled before its first step: then the call was not made.
            self._call.close()
        self._future.cancel()

    async def _ended(self) -> None:
        if not self._future.done():
            await asyncio.wait([self._future])
        self._take()

    async def wait_for_connection(self) -> None:
        await self._ended()
        if self._error is not None:
            raise rpc_error(self._error, *self._blocks())

    def _blocks(self) -> tuple[bytes, bytes]:
        return split_answer(self._call._received_block)


class _StreamCall(_Call):
    """A call that streams: a stream of ours, which begins at once."""

    #: Whether messages are read by iteration: None before the first of them is.
    _is_iterated: bool | None = None
    _is_fed = False
    _is_half_closed = False

    def __init__(self, stream: "Stream[Any, Any]", requests: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._call = stream.origin
        self._loop = loop
        self._callbacks: list[Callable[[Any], object]] = []
        self._stream = stream
        self._begun = loop.create_task(self._begin())
        self._watch: asyncio.Task[None] | None = None
        self._feeding: asyncio.Task[None] | None = None
        if requests is not None:
            self._is_fed = True
            self._feeding = loop.create_task(self._feed(requests))

    async def _begin(self) -> None:
        try:
            await self._stream.begin()
        except FastRPCError as error:
            self._error = error.with_traceback(None)

    def __del__(self) -> None:
        if not self.done():
            self._stop()

    def done(self) -> bool:
        return self._stream._is_over

    def cancelled(self) -> bool:
        self._note_end()
        return super().cancelled()

    def _stop(self) -> None:
        self._begun.cancel()
        self._stream.cancel()
        if self._feeding is not None:
            self._feeding.cancel()
        self._tell()

    def _tell(self, *_: object) -> None:
        """Call the functions that wait for the end."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self.done():
            callback(self)
            return
        self._callbacks.append(callback)
        if self._watch is None:
            self._watch = self._loop.create_task(self._ended())
            self._watch.add_done_callback(self._tell)

    async def _ended(self) -> None:
        while not self._stream._is_over:
            await self._stream._wait()
        self._note_end()

    def _note_end(self) -> None:
        """Take over the error of a stream that is over, which may be another one than its sender got."""
        failure = self._stream.failure if self._stream._is_over else None
        if isinstance(failure, FastRPCError) and not self._is_cancelled_here:
            self._error = failure

    def _blocks(self) -> tuple[bytes, bytes]:
        attempt = self._stream._attempt
        head, trailing = split_answer(None if attempt is None else attempt._received_block)
        return self._stream._first_block or head, trailing

    async def initial_metadata(self) -> aio.Metadata:
        with suppress(FastRPCError):
            await self._stream.headers()
        return _metadata_in(self._blocks()[0])

    async def wait_for_connection(self) -> None:
        await asyncio.wait([self._begun])
        if self._error is not None:
            raise rpc_error(self._error)

    # Receiving

    async def _receive(self) -> Any:
        """Return the next message, or EOF; the error of the call is raised."""
        try:
            return await self._stream.receive()
        except StreamEndedError:
            failure = None
        except FastRPCError as error:
            self._error = self._error or error
            failure = self._failure()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if failure is not None:
            raise failure
        return aio.EOF

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self._receive()) is not aio.EOF:
            yield message

    def _use(self, *, iterates: bool) -> None:
        if self._is_iterated is (not iterates):
            raise aio.UsageError(MIXED)
        self._is_iterated = iterates

    def __aiter__(self) -> AsyncIterator[Any]:
        self._use(iterates=True)
        return self._messages()

    async def read(self) -> Any:
        """Return the next message, `grpc.aio.EOF` after the last one."""
        self._use(iterates=False)
        return await self._receive()

    # Sending

    async def _feed(self, requests: Any) -> None:
        """Send the messages of an iterable, then the end; an exception in it cancels the call."""
        try:
            if hasattr(requests, "__aiter__"):
                async for request in requests:
                    await self._stream.send(request)
            else:
                for request in requests:
                    await self._stream.send(request)
            await self._stream.end()
        except FastRPCError:
            pass  # The end of the call, which its reader gets.
        except Exception:
            logger.exception("%s: the iterable of its requests failed", self._call.method)
            self.cancel()

    async def write(self, request: Any) -> None:
        """Send a message."""
        if self._is_fed:
            raise aio.UsageError(MIXED)
        if self.done():
            raise asyncio.InvalidStateError("the call is over")
        if self._is_half_closed:
            raise asyncio.InvalidStateError("done_writing was called: nothing more can be sent")
        try:
            await self._stream.send(request)
        except FastRPCError as error:
            self._error = self._error or error
            self._note_end()
            raise self._failure() or error from None
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def done_writing(self) -> None:
        """Announce that nothing more is sent."""
        if self._is_fed:
            raise aio.UsageError(MIXED)
        if not (self._is_half_closed or self.done()):
            self._is_half_closed = True
            with suppress(FastRPCError):
                await self._stream.end()


class UnaryStreamCall(_StreamCall, aio.UnaryStreamCall):  # type: ignore[misc]
    """A call with one request and a stream of answers."""


class StreamStreamCall(_StreamCall, aio.StreamStreamCall):  # type: ignore[misc]
    """A call with streams both ways."""


class StreamUnaryCall(_StreamCall, aio.StreamUnaryCall):  # type: ignore[misc]
    """A call with a stream of requests and one answer."""

    def __init__(self, stream: "Stream[Any, Any]", requests: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(stream, requests, loop)
        # The call ends although nothing awaits its answer.
        self._answered = loop.create_task(self._take())

    async def _take(self) -> Any:
        try:
            return await self._stream.receive()
        except FastRPCError as error:
            self._error = self._error or error
        return None

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            answer = yield from self._answered
        except asyncio.CancelledError:
            self.cancel()
            raise
        failure = self._failure()
        if failure is not None:
            raise failure
        return answer

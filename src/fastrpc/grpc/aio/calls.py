"""Calls of a channel. A call starts when it is created, and may then be awaited, read and written, or dropped.

::

    multicallable(request) ──► UnaryUnaryCall     sends immediately, or a task awaits `client.call`
                               StreamCall         a task starts a `Stream`, another sends an iterable (stream_calls)
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Generator
from contextvars import copy_context
from typing import Any

import grpc
from grpc import aio

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc.errors import CallError, FastRPCError
from fastrpc.grpc.callback_thread import call_logged
from fastrpc.grpc.grpcio_contexts import code_of
from fastrpc.grpc.metadata import DETAILS_KEY, INVALID_METADATA, block_of, pairs_in, pairs_of
from fastrpc.peers.outcomes import metadata_blocks
from fastrpc.rpc.protobuf.status_details import encode_details
from fastrpc.status import Status
from fastrpc.user_code import contained

__all__ = ["CANCELLED_HERE", "ChannelCall", "UnaryUnaryCall", "block_for", "metadata_in", "rpc_error"]

CANCELLED_HERE = "Locally cancelled by application!"


def metadata_in(block: bytes) -> aio.Metadata:
    """Return received metadata in the form of grpc.aio."""
    return aio.Metadata(*map(tuple, pairs_in(block)))


def _trailing_in(block: bytes, error: FastRPCError | None) -> aio.Metadata:
    """Return trailing metadata with the details of an error."""
    found = metadata_in(block)
    if error is None:
        return found
    sent = error._details_as_sent
    if sent is None and error.details is not None:
        sent = encode_details(error.status, error.message, error.details)
    if sent is not None:
        found.add(DETAILS_KEY, sent)
    return found


def rpc_error(error: FastRPCError, initial: bytes = b"", trailing: bytes = b"") -> aio.AioRpcError:
    """Convert one of our errors to an error of grpc.aio."""
    found = aio.AioRpcError(
        code_of(error.status or Status.UNKNOWN),
        metadata_in(initial),
        _trailing_in(trailing, error),
        details=error.message,
        debug_error_string=f"{type(error).__name__}: {error}",
    )
    found.__cause__ = error
    return found


def block_for(metadata: Any) -> bytes:
    """Return the metadata of a call, encoded.

    Raises:
        AioRpcError: the metadata cannot be sent.
        TypeError: the argument is not metadata.
    """
    pairs = pairs_of(metadata)
    try:
        return block_of(pairs)
    except ValueError as error:
        refusal = CallError(Status.INTERNAL, INVALID_METADATA)
        refusal.__cause__ = error
        raise rpc_error(refusal) from refusal


class ChannelCall(aio.Call):  # type: ignore[misc]
    """The part of a call that is the same for all kinds of calls."""

    _error: FastRPCError | None = None
    #: Whether this side cancelled the call.
    _is_cancelled_here = False
    #: Our call; for a stream, the object that represents all of its attempts.
    _call: AwaitedCall

    # Implemented by each kind of call

    @abstractmethod
    def _stop(self) -> None:
        """End the call, which must not have ended yet."""

    @abstractmethod
    async def _ended(self) -> None:
        """Return once the call has ended."""

    @abstractmethod
    def _blocks(self) -> tuple[bytes, bytes]:
        """Return the encoded initial and trailing metadata received so far."""

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
        return metadata_in(self._blocks()[0])

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
        """Return a longer description of the error."""
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


class UnaryUnaryCall(ChannelCall, aio.UnaryUnaryCall):  # type: ignore[misc]
    """A call with one request and one answer.

    Usually no task runs the call: a future signals its end, and the first reader decodes the answer. A task continues
    the call only if its first attempt is not enough.

    Args:
        under_way: the channel's running calls by their futures. The call adds itself, and removes itself at its end.
    """

    #: The task that makes the call if one attempt on an open connection is not enough.
    _task: "asyncio.Task[None] | None" = None
    #: Whether `_answer` or `_error` is set.
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
        # Kept for the task that decompresses an answer, because the connection's callback, which starts the task, has
        # another context.
        self._context = copy_context()
        if future is None:
            future = self._future = asyncio.get_running_loop().create_future()
            self._go_on()
        self._future = future
        under_way[future] = self
        future.add_done_callback(under_way.pop)

    def _go_on(self) -> None:
        """Make the call, or continue it, in a task."""
        if not self._future.done():
            # A task copies the context in which it is made.
            self._task = self._context.run(asyncio.get_running_loop().create_task, self._run())
            self._task.add_done_callback(self._task_ended)

    async def _run(self) -> None:
        try:
            with contained("a coder of the channel"):
                self._answer = await self._call
            self._is_taken = True
        except Exception as error:
            self._fail(error)
        # The future is set here: a callback of the task would cost one more loop iteration.
        if not self._future.done():
            self._future.set_result(None)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        """End the call if its task was cancelled, perhaps before the task's first step."""
        if task.cancelled():
            self._stop()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, FastRPCError):
            error = CallError(Status.INTERNAL, f"{type(error).__name__}: {error}")
        self._error = error.with_traceback(None)
        self._is_taken = True

    def _take(self) -> None:
        """Store the answer or the error after the future is done."""
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
                # If the answer arrived in the same loop iteration, the call ended normally.
                if not future.done() or future.cancelled():
                    self._stop()
                raise
        self._take()
        if self._is_cancelled_here or self._error is not None:
            failure = self._failure()
            assert failure is not None
            raise failure
        return self._answer

    # Channels for threads call `done` and `cancelled` from other threads. Neither method decodes the answer, which may
    # fail.

    def done(self) -> bool:
        return self._future.done()

    def cancelled(self) -> bool:
        return self._future.cancelled() or super().cancelled()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self.done():
            callback(self)
        else:
            self._future.add_done_callback(lambda _: call_logged(callback, self))

    def _stop(self) -> None:
        if self._task is None:
            self._call.close()
        elif not self._task.done():
            self._task.cancel()
        else:
            # The task may have been cancelled before its first step, so that the call was not made.
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
        return metadata_blocks(self._call)

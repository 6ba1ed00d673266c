"""Streaming calls of a channel. They are read by `read` or iteration, and written by `write` or from an iterable."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from typing import Any

from grpc import aio

from fastrpc.errors import EncodeError, FastRPCError, StreamEndedError
from fastrpc.grpc.aio.calls import ChannelCall, metadata_in, rpc_error
from fastrpc.grpc.callback_thread import call_logged
from fastrpc.grpc.message_limits import TooLargeError
from fastrpc.peers.stream import Stream
from fastrpc.user_code import contained

__all__ = ["StreamStreamCall", "StreamUnaryCall", "UnaryStreamCall"]

logger = logging.getLogger("fastrpc.grpc")

MIXED = "a call is either iterated, or read and written by hand"


class _StreamCall(ChannelCall):
    """A streaming call over a `Stream`, which starts immediately."""

    #: Whether messages are read by iteration; None before the first read.
    _is_iterated: bool | None = None
    _is_fed = False
    _is_half_closed = False
    #: Whether this side ended the call because it cannot encode a message, or a message is too large.
    _is_refused_here = False

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
        return self._stream.is_over

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
        """Call the functions that were registered for the end of the call."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            call_logged(callback, self)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self.done():
            callback(self)
            return
        self._callbacks.append(callback)
        if self._watch is None:
            self._watch = self._loop.create_task(self._ended())
            self._watch.add_done_callback(self._tell)

    async def _ended(self) -> None:
        await self._stream.wait_over()
        self._note_end()

    def _note_end(self) -> None:
        """Adopt the error with which the stream ended, as the sender may have stored another one."""
        failure = self._stream.failure if self.done() else None
        if isinstance(failure, FastRPCError) and not (self._is_cancelled_here or self._is_refused_here):
            self._error = failure

    def _blocks(self) -> tuple[bytes, bytes]:
        return self._stream.metadata_blocks()

    async def initial_metadata(self) -> aio.Metadata:
        with suppress(FastRPCError):
            await self._stream.headers()
        return metadata_in(self._blocks()[0])

    async def wait_for_connection(self) -> None:
        await asyncio.wait([self._begun])
        if self._error is not None:
            raise rpc_error(self._error)

    # Receiving

    async def _receive(self) -> Any:
        """Return the next message, or EOF; raise the error of the call."""
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
        """Send the messages of an iterable, then the end; an exception in the iterable cancels the call."""
        try:
            with contained("the iterable of requests"):
                if hasattr(requests, "__aiter__"):
                    async for request in requests:
                        await self._stream.send(request)
                else:
                    for request in requests:
                        await self._stream.send(request)
            await self._stream.end()
        except (EncodeError, TooLargeError) as error:
            self._refuse(error)
        except FastRPCError:
            pass  # The call has ended, which its reader learns.
        except Exception:
            logger.exception("%s: the iterable of its requests failed", self._call.method)
            self.cancel()

    def _refuse(self, error: FastRPCError) -> None:
        """End a call whose message cannot be encoded or is too large; its reader gets the error."""
        if not self.done():
            self._error, self._is_refused_here = error.with_traceback(None), True
            self._stop()

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
            if isinstance(error, EncodeError | TooLargeError):
                self._refuse(error)
            self._error = self._error or error
            self._note_end()
            raise self._failure() or error from None
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def done_writing(self) -> None:
        """Announce that no further message follows."""
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
        # A task, because the call has to end even if nothing awaits its answer.
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

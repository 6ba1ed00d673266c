"""A stream as a program holds it: what `Client.stream` and `Client.open` return.

::

    begin ──► StreamRunner.open ──► an attempt ──► messages … ──► finish ──► conclude
                                                                     │
                                                     interceptors, if there are any

`finish` is the end of the last attempt, `conclude` the end of the stream: between them lie the interceptors, whose
outcome counts.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

from fastrpc._core.calling.called_stream import CalledStream
from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.calls.call import Route
from fastrpc._core.payload.metadata import Metadata
from fastrpc.client.unpacking import message_steps
from fastrpc.compressors.base import Steps
from fastrpc.endpoint import Endpoint
from fastrpc.errors import CallError, FastRPCError, StreamEndedError
from fastrpc.rpc.reply import Reply
from fastrpc.status import Status

__all__ = ["Stream", "StreamStarter"]

S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)

_NO_VALUE: Any = object()


class StreamStarter(Protocol):
    """What makes the attempts of a stream."""

    async def open(self, stream: "Stream[Any, Any]") -> None:
        """Return once an attempt is under way, or raise why there is none."""

    def retry(self, stream: "Stream[Any, Any]", error: FastRPCError) -> bool:
        """Return whether another attempt follows the one that failed with `error`; it is begun then."""


class Stream(CalledStream, Generic[S_contra, T_co]):
    """A call whose messages go one way or both.

    ::

        async with client.stream(Arith.count, 3) as numbers:
            async for number in numbers:
                print(number)

    Leaving the block before the end cancels the handler. One task at a time may send, and one may receive.
    """

    def __init__(
        self,
        starter: StreamStarter,
        options: ViewOptions,
        hash_key: Any,
        route: Route,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        *,
        messages: Any = None,
    ) -> None:
        super().__init__(options, hash_key, route, *given)
        self._starter = starter
        self._source = messages
        self.is_fed = messages is not None
        #: Done once the first attempt is under way or failed; None before anybody asked for it.
        self._begun: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        # Futures of those who wait for the first attempt, for the initial metadata, for the end of the last attempt.
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_finished = self._is_over = False
        self._failure: BaseException | None = None
        self._metadata: Metadata | None = None
        self._value: Any = _NO_VALUE
        self._is_taken = False

    def __repr__(self) -> str:
        state = "over" if self._is_over else "open" if self.is_open else "new"
        return f"<Stream of {self.origin.method}, {state}>"

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # Receiving and sending: `send`, `end` and the fast ways of receiving are compiled.

    if TYPE_CHECKING:

        def __aiter__(self) -> AsyncIterator[T_co]: ...
        def __anext__(self) -> Coroutine[Any, Any, T_co]: ...
        def send(self, message: S_contra, /) -> Coroutine[Any, Any, None]: ...
        def receive(self) -> Coroutine[Any, Any, T_co]: ...
        def receive_many(self, limit: int = 4096) -> Coroutine[Any, Any, list[T_co]]: ...

    async def _next_slowly(self) -> T_co:
        try:
            return await self._receive_slowly()
        except StreamEndedError:
            if self._failure is not None:
                raise
        raise StopAsyncIteration

    async def _receive_slowly(self) -> T_co:
        await self.begin()
        if self.gives_stream:
            return cast(T_co, await self._message())
        return await self._take_answer()

    async def _receive_many_slowly(self, limit: int) -> list[T_co]:
        await self.begin()
        if self.gives_stream:
            return cast(list[T_co], await self._messages(limit))
        return [await self._take_answer()]

    async def _take_answer(self) -> T_co:
        """Return the one answer to a stream, once."""
        try:
            # There is no message: what comes is the end.
            await self._message()
        except StreamEndedError:
            if self._is_taken or self._failure is not None:
                raise
        self._is_taken = True
        return cast(T_co, self._answer())

    def _answer(self) -> Any:
        if self._value is _NO_VALUE and self._attempt is not None and not self.gives_stream:
            try:
                self._value = self._attempt._answer()
            except FastRPCError as error:
                error._of_own_call = True
                self._failure = error
                raise
        return None if self._value is _NO_VALUE else self._value

    # What is known of it

    @property
    def metadata(self) -> Metadata:
        """The first metadata; LookupError as long as neither it nor a message came."""
        if self._metadata is None:
            self._metadata = self._first_metadata
        if self._metadata is None and self._is_over and self._failure is None:
            self._metadata = Metadata()
        if self._metadata is None:
            raise LookupError(
                f"{self.origin.method}: no metadata came yet; `await stream.headers()` waits for it"
            )
        return self._metadata

    async def headers(self) -> Metadata:
        """Return the first metadata, once it or a message came."""
        await self.begin()
        while not self.has_sign and not self._is_over:
            await self._wait()
        if not self.has_sign and self._failure is not None:
            raise self._failure
        return self.metadata

    @property
    def reply(self) -> Reply[T_co]:
        """What is known at the end; LookupError before, the error of a stream that failed."""
        if not self._is_over:
            raise LookupError(f"{self.origin.method}: the stream has not ended yet")
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        call = self.origin
        return Reply(
            cast(T_co, self._answer()),
            metadata=call.reply_metadata,
            endpoint=cast(Endpoint, call.endpoint),
            attempts=call.attempt + 1,
            seconds=call._seconds,
        )

    # Its life

    async def begin(self) -> None:
        """Start the call, if it did not begin yet; `async with`, sending and receiving do so.

        Raises:
            UnavailableError: there is no connection to be had.
            TypeError: arguments do not fit the method's signature; nothing was sent.
            EncodeError: an argument cannot travel.
        """
        if self._begun is not None:
            if not self._begun.done():
                await asyncio.shield(self._begun)
            return
        if self._is_over:
            return
        self._begun = asyncio.get_running_loop().create_future()
        try:
            await self._starter.open(self)
        except BaseException as error:
            if isinstance(error, FastRPCError):
                error._of_own_call = True
            self._stop_tasks()
            self.conclude(error if isinstance(error, Exception) else self._cancelled())
            raise
        finally:
            self._begun.set_result(None)
        if self._source is not None and not self._is_over:
            self.spawn(self._feed(self._source))

    def cancel(self) -> None:
        """End the stream now: the handler is cancelled, messages that are there are dropped. It waits for nothing."""
        error = None
        if not self._is_over:
            error = self._cancelled()
            self._stop_tasks()
        self._drop(error)
        self.conclude(error)

    async def aclose(self) -> None:
        """End the stream as leaving its block does: before its end the handler is cancelled."""
        self.cancel()
        waited = [task for task in self._tasks if task is not asyncio.current_task()]
        if waited:
            await asyncio.wait(waited)

    def _cancelled(self) -> CallError:
        error = CallError(
            Status.CANCELLED, f"{self.origin.method}: the stream was cancelled here", processed="unknown"
        )
        error._of_own_call = True
        return error

    # For whoever runs it

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run a part of the stream's work as a task, which ends with the stream."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
        self.wake()

    def _stop_tasks(self) -> None:
        for task in self._tasks:
            if task is not _current_task():
                task.cancel()

    async def _wait(self) -> None:
        """Return at the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def wake(self) -> None:
        """Let whoever waits for a change look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_open(self, task: asyncio.Task[Any]) -> None:
        """Return once an attempt is under way or the task that is to make it ended; raise why there is none."""
        try:
            while not self.is_open and not task.done():
                await self._wait()
        except BaseException:
            task.cancel()
            raise
        if not self.is_open and self._failure is not None:
            raise self._failure

    async def wait_finished(self) -> None:
        """Return at the end of the last attempt; raise what it failed with."""
        while not self._is_finished:
            await self._wait()
        if self._failure is not None:
            raise self._failure

    def on_sign(self) -> None:
        self.wake()

    def tries_again(self, error: BaseException) -> bool:
        return isinstance(error, FastRPCError) and self._starter.retry(self, error)

    def unpack_message(self, call: PendingCall, payload: bytes, most: int) -> Steps:
        return message_steps(call, payload, most)

    def finish(self, error: BaseException | None) -> None:
        if self._is_over:
            self._failure = self._failure or error
            return
        self._is_finished = True
        self._failure = error
        if self.is_intercepted:
            self._end_sending(error)
            self.wake()
        else:
            self.conclude(error)

    def conclude(self, error: BaseException | None, value: Any = _NO_VALUE) -> None:
        """End the stream: messages that are there come first, then the error; None is a clean end."""
        if self._is_over:
            return
        self._is_finished = self._is_over = True
        self._failure = error
        self._value = value
        if self._attempt is not None:
            self.origin._adopt(self._attempt)
        self._stop_tasks()
        self._end(error)
        self.wake()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None

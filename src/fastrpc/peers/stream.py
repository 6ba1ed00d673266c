"""A stream in a program: `Client.stream` and `Client.open` return it.

::

    begin ──► StreamRunner.open ──► an attempt ──► finish ──► drained ──► conclude
                                                                 │
                                                 interceptors, if there are any

`finish` is the end of the last attempt, `conclude` the end of the stream. Between them the program reads the received
messages; then the interceptors continue, and their outcome is the stream's outcome.

The tasks of a stream hold no reference to it, so a stream that the program drops is cancelled even while they run.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.call_errors import mark_own_call
from fastrpc._core.client.called_stream import CalledStream, feed
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.payload.metadata import Metadata
from fastrpc.compressors.base import Compressor, Steps
from fastrpc.errors import FastRPCError, StreamEndedError
from fastrpc.peers.packing import Packing
from fastrpc.peers.stream_outcome import NO_VALUE, StreamOutcome
from fastrpc.peers.unpacking import message_steps
from fastrpc.rpc.reply import Reply
from fastrpc.tracebacks import shortened

if TYPE_CHECKING:
    from fastrpc._core.client.caller_state import CallerState

__all__ = ["Stream", "StreamStarter"]

S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class StreamStarter(Protocol):
    """The part that makes a stream's attempts."""

    async def open(self, stream: "Stream[Any, Any]") -> None:
        """Return after an attempt has started, or raise the error that prevents it."""

    def retry(self, stream: "Stream[Any, Any]", error: FastRPCError) -> bool:
        """Start another attempt after `error` ended the last one. Return False if no attempt follows."""


class Stream(StreamOutcome, CalledStream, Generic[S_contra, T_co]):
    """A call whose messages are streamed in one direction or both.

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
        route: MethodRoute,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        *,
        messages: Any = None,
    ) -> None:
        super().__init__(options, hash_key, route, *given)
        self._state = cast("CallerState", options.shared)
        self._starter = starter
        self._source = messages
        self.is_fed = messages is not None
        #: Done when the first attempt has started or failed; None before the stream is started.
        self._begun: asyncio.Future[None] | None = None
        # `_tasks`: all tasks that make attempts or send messages. `_attempting`: the task that makes the attempts.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._attempting: asyncio.Task[None] | None = None
        # The task of the interceptors, if there are any.
        self._interception: asyncio.Task[None] | None = None
        # Futures of tasks that wait for the first attempt, the initial metadata or the end of the last attempt.
        self._waiters: set[asyncio.Future[None]] = set()
        # Whether the last attempt ended; whether the interceptors are notified of its end.
        self._is_finished = self._is_told = False

    def __repr__(self) -> str:
        state = "over" if self._is_over else "open" if self.is_open else "new"
        return f"<Stream of {self.origin.method}, {state}>"

    def __del__(self) -> None:
        loop = None if self._begun is None else self._begun.get_loop()
        if loop is not None and _runs_elsewhere(loop):
            # The garbage collector may run in any thread. `_Ending` keeps the stream alive until its loop has ended it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_Ending(self._let_go))
        else:
            self._let_go()

    def _let_go(self) -> None:
        """End all work, because the program no longer refers to the stream."""
        try:
            if self._begun is not None and not self._begun.get_loop().is_closed():
                self._stop_tasks()
        finally:
            super().__del__()

    async def __aenter__(self) -> Self:
        if self._is_over:
            raise RuntimeError(f"{self.origin.method}: this stream is over: make another one")
        try:
            await self.begin()
        except Exception as error:
            raise shortened(error)  # noqa: B904 (the same error)
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
        def send_many(self, messages: Iterable[S_contra], /) -> Coroutine[Any, Any, None]: ...
        def receive(self) -> Coroutine[Any, Any, T_co]: ...
        def receive_many(self, limit: int = 4096) -> Coroutine[Any, Any, list[T_co]]: ...

    else:
        # `await`, `with` and `for` raise an error that names the right statement.
        def __iter__(self):
            raise TypeError(
                f"{self.origin.method}: a stream is entered by `async with` and read by `async for`; "
                "`await`, `with` and `for` do not work on it"
            )

        __enter__ = __exit__ = __await__ = __iter__

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
        with suppress(StreamEndedError):
            # No message will come: the next event is the end.
            await self._message()
        return cast(T_co, self._answer_once())

    # State

    @property
    def metadata(self) -> Metadata:
        """The initial metadata; LookupError before it or a message has arrived."""
        return self._known_metadata("await stream.headers()")

    async def headers(self) -> Metadata:
        """Wait until the initial metadata or a message has arrived, and return the initial metadata."""
        await self.begin()
        while not self.has_sign and not self._is_over:
            await self._wait()
        if not self.has_sign:
            self._check_failure()
        return self.metadata

    @property
    def reply(self) -> Reply[T_co]:
        """The reply, available at the end, after the last message.

        Raises:
            LookupError: the stream has not ended yet.
            FastRPCError: the stream failed.
        """
        if not self._is_over:
            if self.input_ended and not self.waiting:
                # The stream has failed, although its interceptors have not ended it yet.
                self._check_failure()
            raise LookupError(f"{self.origin.method}: the stream has not ended yet")
        return self._made_reply()

    # Its life

    async def begin(self) -> None:
        """Start the call unless it has started. `async with`, sending and receiving call this method.

        Raises:
            UnavailableError: no endpoint could be reached.
            TypeError: arguments do not fit the method's signature; nothing was sent.
            EncodeError: an argument cannot be encoded.
        """
        if self._begun is not None:
            if not self._begun.done():
                await asyncio.shield(self._begun)
            return
        if self._is_over:
            # The call was cancelled before it started.
            return
        self._begun = asyncio.get_running_loop().create_future()
        try:
            await self._starter.open(self)
        except BaseException as error:
            mark_own_call(error)
            self._stop_tasks()
            self.conclude(self._kept(error) if isinstance(error, Exception) else self._cancelled())
            raise
        finally:
            self._begun.set_result(None)
        if self._source is not None and not self._is_over:
            self.spawn(feed(self.origin, self._source))

    def cancel(self) -> None:
        """End the stream now, without waiting: the handler is cancelled, received messages are dropped."""
        is_decided = self._is_finished and (self._failure is not None or not self.waiting)
        if is_decided and not self._is_over:
            # The last attempt failed, or its messages were read: the interceptors get this outcome and end the stream.
            self._drop_messages()
            if not self._is_over:
                return
        error = None
        if not self._is_over or (self.waiting and self._failure is None):
            # The call still runs, or it succeeded but the program does not read its remaining messages.
            error = self._cancelled()
        self._stop_tasks()
        self._drop(error)
        if self._is_over:
            self._failure = self._failure or error
        else:
            self.conclude(error)

    async def aclose(self) -> None:
        """End the stream, as leaving its block does: a handler that has not ended is cancelled."""
        self.cancel()
        tasks = {*self._tasks, self._interception} - {None, asyncio.current_task()}
        if tasks:
            try:
                await asyncio.wait(cast(set[asyncio.Task[Any]], tasks))
            except asyncio.CancelledError:
                self._stop_tasks()
                raise
            # The interceptors may have ended without ending the stream.
            self.cancel()

    async def close(self) -> None:
        """End the stream, as `aclose` does."""
        await self.aclose()

    # For its runner

    def enter_loop(self, idle_seconds: float) -> None:
        """Bind the stream to the running loop. A wait for a message takes at most `idle_seconds`; 0: no limit.

        Raises:
            DeadlineExceededError: no time is left for the call.
        """
        self._state.use()
        self._set_loop(loop_state(asyncio.get_running_loop()), idle_seconds)
        self._start_clock()

    def start_attempt(self, attempt: AwaitedCall, sign: Any = None, pick: Any = None) -> None:
        """Send an attempt. The future `sign` is done at the server's first frame for it."""
        attempt._begin(self, sign, pick)
        self.wake()

    def give_up_attempt(self) -> None:
        """End the attempt, if it is not over."""
        if self._attempt is not None:
            self._attempt._give_up()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a part of the stream's work as a task that ends with the stream and holds no reference to it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(_task_ended, weakref.ref(self)))
        return task

    def attempt(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the attempts of the stream as a task, as `spawn` does."""
        task = self._attempting = self.spawn(work)
        return task

    def intercept(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the interceptors around the stream as a task, like `spawn`. They continue after the last attempt."""
        self.is_intercepted = True
        task = self._interception = self.spawn(work)
        self._tasks.discard(task)
        return task

    def forget(self, task: asyncio.Task[Any]) -> None:
        """Remove an ended task."""
        self._tasks.discard(task)
        self.wake()

    def _stop_work(self) -> None:
        """Stop sending, and stop the attempts unless one was chosen: in that case they end by themselves."""
        for task in self._tasks:
            if task is not self._attempting or not self.is_chosen:
                _stop(task)

    def _stop_tasks(self) -> None:
        for task in (*self._tasks, self._interception):
            _stop(task)

    async def _wait(self) -> None:
        """Return at the next change."""
        waiter = self.change()
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def change(self) -> asyncio.Future[None]:
        """Return a future that is done at the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        return waiter

    def wake(self) -> None:
        """Wake all tasks that wait for a change, so that they check again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_over(self) -> None:
        """Return once the stream is over."""
        while not self._is_over:
            await self._wait()

    async def wait_open(self, task: asyncio.Task[Any]) -> None:
        """Return after an attempt has started or its task has ended. Raise the reason if no attempt follows."""
        try:
            while not self.is_open and not task.done():
                await self._wait()
        except BaseException:
            task.cancel()
            raise
        if not self.is_open:
            self._check_failure()

    def until_told(self) -> asyncio.Future[None] | None:
        """Return a future while interceptors must wait for the end of the stream's last attempt, else None."""
        return None if self._is_told or self._is_over else self.change()

    @property
    def failure(self) -> BaseException | None:
        """The error to raise: of the last attempt, or of the stream."""
        return None if self._failure is None else self._again(self._failure)

    def on_sign(self) -> None:
        self.wake()

    def tries_again(self, error: BaseException) -> bool:
        return isinstance(error, FastRPCError) and self._starter.retry(self, error)

    def unpack_message(self, call: ClientCall, payload: bytes, most: int) -> Steps:
        return message_steps(call, payload, most)

    def pack_message(self, compressor: Compressor, payload: bytes) -> Packing:
        turns = loop_state(asyncio.get_running_loop()).turns
        return Packing(turns, compressor, payload, partial(_send_packed, weakref.ref(self)))

    def finish(self, error: BaseException | None) -> None:
        if self._is_told or self._is_over:
            return
        self._is_finished = True
        self._failure = self._kept(error)
        self._stop_work()
        if self.is_intercepted:
            self._end_sending(error)
        else:
            self._end(error)
        self._tell_drained()

    def drained(self) -> None:
        self._count_end(self._failure)
        if not self.is_intercepted:
            self.conclude(self._failure)
        elif not self._is_over:
            self._is_told = True
            self.wake()

    def conclude(self, error: BaseException | None, value: Any = NO_VALUE) -> None:
        """End the stream. Received messages can still be read; then the error is raised, or None ends it normally."""
        if self._is_over:
            return
        self._is_finished = True
        self._keep_outcome(error, value)
        self._count_end(error)
        self.adopt_attempt()
        self._stop_work()
        _stop(self._interception)
        self._end(error)
        self.wake()


class _Ending:
    """Ends a stream that another thread dropped: in the stream's loop, or in `__del__` if the loop stops or closes.

    Args:
        let_go: the bound method that ends the stream; it keeps the stream alive until then.
    """

    __slots__ = ("_let_go",)

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go: Callable[[], None] | None = let_go

    def __call__(self) -> None:
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()

    def __del__(self) -> None:
        # End the stream here, because otherwise its attempts would keep their borrowed pointers to it.
        self()


def _task_ended(reference: "weakref.ref[Stream[Any, Any]]", task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        # The exception is only marked as retrieved, so that asyncio does not report it: the stream has the error.
        task.exception()
    stream = reference()
    if stream is not None:
        stream.forget(task)


def _stop(task: asyncio.Task[Any] | None) -> None:
    # A task is cancelled only once: a second cancellation would end the work that a `finally` of the program awaits.
    if task is not None and task is not _current_task() and not task.cancelling():
        task.cancel()


def _runs_elsewhere(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a loop runs, and in another thread than this one."""
    try:
        return asyncio.get_running_loop() is not loop and loop.is_running()
    except RuntimeError:
        return loop.is_running()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _send_packed(
    stream_of: "weakref.ref[Stream[Any, Any]]", payload: bytes, is_smaller: bool, error: BaseException | None
) -> None:
    """Send a compressed message, if its stream still exists."""
    stream = stream_of()
    if stream is not None:
        stream._packed(payload, is_smaller, error)

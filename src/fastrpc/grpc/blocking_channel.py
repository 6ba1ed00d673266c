"""`fastrpc.grpc.insecure_channel` and `secure_channel`: channels for threads, with a loop in a thread of their own."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, Self

import grpc

from fastrpc.config import TLS
from fastrpc.grpc.aio import calls, channels
from fastrpc.grpc.callback_thread import CallbackThread
from fastrpc.grpc.loop_thread import LoopThread, ThreadEndedError

__all__ = ["BlockingChannel", "ThreadedCall", "ThreadedRpcError", "insecure_channel", "secure_channel"]

logger = logging.getLogger("fastrpc.grpc")

CLOSED = "Cannot invoke RPC on closed channel!"
CLOSED_UNDER_WAY = "Channel closed!"
FAULTY_REQUESTS = "Exception iterating requests!"


def insecure_channel(
    target: str,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: Any = None,
    *,
    credentials: Any = None,
) -> "BlockingChannel":
    """Return a channel without encryption, with the arguments of grpcio's own function."""
    return BlockingChannel(channels.insecure_channel(target, options, compression, credentials=credentials))


def secure_channel(
    target: str,
    tls: TLS,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: Any = None,
    *,
    credentials: Any = None,
) -> "BlockingChannel":
    """Return a channel with TLS: `tls` is a `fastrpc.TLS`."""
    return BlockingChannel(
        channels.secure_channel(target, tls, options, compression, credentials=credentials)
    )


class BlockingChannel(grpc.Channel):  # type: ignore[misc]
    """Makes the calls of generated stubs."""

    def __init__(self, inner: channels.AioChannel) -> None:
        self._inner = inner
        #: Calls the functions of `subscribe`, for which callbacks of calls may wait.
        self._states = CallbackThread("fastrpc grpc channel states")
        self._watches: dict[Any, _Watch] = {}
        #: Stubs and calls use it on when the channel is dropped, as those of grpcio do.
        self._thread = LoopThread(
            "fastrpc grpc channel",
            close=partial(_close_dropped, inner, self._states, self._watches),
            owner=f"<BlockingChannel of {inner.client._pool.target}>",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        for callback in list(self._watches):
            self.unsubscribe(callback)
        self._states.end()
        with suppress(ThreadEndedError, CancelledError):
            closing = self._thread.submit(self._inner.close())
            closing.add_done_callback(lambda _: self._thread.stop())
            if self._thread.is_current():
                return
            closing.result()
        self._thread.stop()

    def subscribe(self, callback: Callable[[Any], object], try_to_connect: bool | None = False) -> None:
        """Have a function called with the state of the connections, now and at each change.

        A function that holds the channel keeps it until `unsubscribe` or `close`.
        """
        self._watches[callback] = watch = _Watch(callback)
        watch.begin(self._thread, _follow(self._inner, self._states, watch.tell, bool(try_to_connect)))

    def unsubscribe(self, callback: Callable[[Any], object]) -> None:
        """Call the function no more."""
        if callback in self._watches:
            self._watches.pop(callback).end()

    def unary_unary(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return the caller of a method with one request and one answer."""
        return _OneAnswer(self._thread, self._inner.unary_unary(*method, **coders), False)

    def unary_stream(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return the caller of a method that streams its answers."""
        return _Streamed(self._thread, self._inner.unary_stream(*method, **coders), False)

    def stream_unary(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return the caller of a method that takes a stream."""
        return _OneAnswer(self._thread, self._inner.stream_unary(*method, **coders), True)

    def stream_stream(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return the caller of a method that streams both ways."""
        return _Streamed(self._thread, self._inner.stream_stream(*method, **coders), True)


# Without the channel, which may be dropped meanwhile


class _Watch:
    """The watch of a function of `subscribe`, which may end it before it has wholly begun."""

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self._callback = callback
        self._is_over = threading.Event()
        self._following: Future[None] | None = None

    def begin(self, thread: LoopThread, following: Coroutine[Any, Any, None]) -> None:
        self._following = thread.submit(following)
        if self._is_over.is_set():
            self._following.cancel()

    def tell(self, state: Any) -> None:
        if not self._is_over.is_set():
            self._callback(state)

    def end(self) -> None:
        self._is_over.set()
        if self._following is not None:
            self._following.cancel()


async def _follow(
    inner: channels.AioChannel,
    states: CallbackThread,
    tell: Callable[[Any], object],
    try_to_connect: bool,
) -> None:
    state = inner.get_state(try_to_connect)
    while True:
        states.call(tell, state)
        await inner.wait_for_state_change(state)
        state = inner.get_state()


async def _close_dropped(
    inner: channels.AioChannel, states: CallbackThread, watches: dict[Any, _Watch]
) -> None:
    for watch in watches.values():
        watch.end()
    states.end()
    await inner.close()


class _BlockingMethod:
    """Calls one method from threads."""

    def __init__(self, thread: LoopThread, inner: Any, takes_stream: bool) -> None:
        self._thread = thread
        self._inner = inner
        self._takes_stream = takes_stream

    def _begin(self, request: Any, *options: Any, **named: Any) -> "ThreadedCall":
        async def begin() -> Any:
            return self._inner(None if self._takes_stream else request, *options, **named)

        call = ThreadedCall(self._thread, self._made(begin()))
        if self._takes_stream:
            call.feed(request)
        return call

    def _made(self, making: Any) -> Any:
        """Run a coroutine that makes a call.

        Raises:
            ValueError: the channel is closed.
        """
        try:
            return self._thread.run(making)
        except (grpc.aio.UsageError, ThreadEndedError):
            raise ValueError(CLOSED) from None
        except grpc.aio.AioRpcError as error:
            raise ThreadedRpcError.of(error) from error.__cause__


class _OneAnswer(_BlockingMethod):
    """Calls a method with one answer."""

    def __call__(self, request: Any, *options: Any, **named: Any) -> Any:
        """Return the answer."""
        if self._takes_stream:
            return self.with_call(request, *options, **named)[0]

        async def answer() -> Any:
            return await self._inner(request, *options, **named)

        try:
            return self._made(answer())
        except CancelledError:
            raise _cancelled_error(CLOSED_UNDER_WAY) from None

    def with_call(self, request: Any, *options: Any, **named: Any) -> tuple[Any, "ThreadedCall"]:
        """Return the answer and the call."""
        call = self._begin(request, *options, **named)
        try:
            return call.result(), call
        except BaseException:
            call.cancel()
            raise

    def future(self, request: Any, *options: Any, **named: Any) -> "ThreadedCall":
        """Begin a call, and return it: a future of its answer."""
        call = self._begin(request, *options, **named)
        call.answer()
        return call


class _Streamed(_BlockingMethod):
    """Calls a method that streams its answers."""

    def __call__(self, request: Any, *options: Any, **named: Any) -> "ThreadedCall":
        """Begin a call, and return it: an iterator of its messages."""
        return self._begin(request, *options, **named)


class ThreadedRpcError(grpc.aio.AioRpcError, grpc.Call, grpc.Future):  # type: ignore[misc]
    """The error of a call for threads, which is the call that failed as well.

    Programs ask it by `grpc.Call`; `intercept_channel` of grpcio and its interceptors ask it by `grpc.Future`.
    """

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Self:
        """Return an error of a call on the loop as one for threads."""
        found = cls(
            error.code(),
            error.initial_metadata(),
            error.trailing_metadata(),
            details=error.details(),
            debug_error_string=error.debug_error_string(),
        )
        found.__cause__ = error.__cause__
        return found

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Callable[[], object]) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> NoReturn:
        raise self

    def exception(self, timeout: float | None = None) -> Self:
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        return self.__traceback__

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        fn(self)


def _cancelled_error(details: str) -> grpc.RpcError:
    nothing = grpc.aio.Metadata()
    return ThreadedRpcError(grpc.StatusCode.CANCELLED, nothing, nothing, details=details)


class ThreadedCall(grpc.Call, grpc.Future):  # type: ignore[misc]
    """A call for threads: a future of its one answer, or an iterator of its messages."""

    def __init__(self, thread: LoopThread, call: Any) -> None:
        self._thread = thread
        self._call = call
        self._answer: Future[Any] | None = None
        #: Whether `cancel` ended it, or the iterable of its requests.
        self._is_cancelled = False
        self._is_faulty = False

    def answer(self) -> "Future[Any]":
        """Return the future of the answer, or of the end of a stream."""
        if self._answer is None:
            self._answer = self._thread.begin(self._awaited)
        return self._answer

    async def _awaited(self) -> Any:
        if hasattr(self._call, "__await__"):
            return await self._call
        await self._call.code()
        failure = self._call._failure()
        if failure is not None:
            raise failure
        return None

    def feed(self, requests: Iterator[Any]) -> None:
        """Send the messages of an iterable, taken by a thread of their own."""
        threading.Thread(
            target=self._feed, args=[requests], name="fastrpc grpc requests", daemon=True
        ).start()

    def _feed(self, requests: Iterator[Any]) -> None:
        try:
            for request in requests:
                if self.done() or not self._sends(self._call.write(request)):
                    return
        except BaseException:
            if not self.done():
                logger.exception("the iterable of requests failed")
                self._stop(is_faulty=True)
            return
        self._sends(self._call.done_writing())

    def _sends(self, sending: Coroutine[Any, Any, None]) -> bool:
        """Send a message or the end of them; return False if the call is over: its reader gets the error."""
        try:
            self._thread.run(sending)
        except (grpc.RpcError, asyncio.InvalidStateError, CancelledError, ThreadEndedError):
            return False
        return True

    # grpc.Call

    def _ask(self, name: str) -> Any:
        return self._thread.ask(getattr(self._call, name))

    def code(self) -> grpc.StatusCode:
        code = self._ask("code")
        return grpc.StatusCode.UNKNOWN if self._is_faulty else code

    def details(self) -> str:
        details = str(self._ask("details"))
        if self._is_faulty:
            return FAULTY_REQUESTS
        return CLOSED_UNDER_WAY if details == calls.CANCELLED_HERE and not self._is_cancelled else details

    def initial_metadata(self) -> Any:
        return self._ask("initial_metadata")

    def trailing_metadata(self) -> Any:
        return self._ask("trailing_metadata")

    def is_active(self) -> bool:
        return not self.done()

    def time_remaining(self) -> float | None:
        remaining: float | None = self._call.time_remaining()
        return remaining

    def add_callback(self, callback: Callable[[], object]) -> bool:
        if self.done():
            return False
        try:
            self._thread.call_soon(
                self._call.add_done_callback, lambda _: self._thread.callbacks.call(callback)
            )
        except ThreadEndedError:
            return False
        return True

    # grpc.Future

    def cancel(self) -> bool:
        return not self.done() and self._stop(is_faulty=False)

    def _stop(self, *, is_faulty: bool) -> bool:
        """Cancel the call and note why, before a reader hears of it; return whether it was under way."""

        async def stop() -> bool:
            if self.done():
                return False
            self._is_faulty, self._is_cancelled = is_faulty, not is_faulty
            return bool(self._call.cancel())

        return self._thread.ask(stop)

    def cancelled(self) -> bool:
        return self._is_cancelled and bool(self._call.cancelled())

    def running(self) -> bool:
        return not self.done()

    def done(self) -> bool:
        return bool(self._call.done())

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self.answer().result(timeout)
        except grpc.aio.AioRpcError as error:
            raise ThreadedRpcError.of(error) from error.__cause__
        except CancelledError:
            if self._is_cancelled:
                raise grpc.FutureCancelledError from None
            raise self._error() from None
        except FutureTimeoutError:
            raise grpc.FutureTimeoutError from None

    def _error(self) -> grpc.RpcError:
        """Return the error of a call that this side has ended."""
        metadata = self.initial_metadata(), self.trailing_metadata()
        return ThreadedRpcError(self.code(), *metadata, details=self.details())

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            self.result(timeout)
        except grpc.RpcError as failure:
            error: BaseException = failure
            return error
        return None

    def traceback(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        if self.done():
            fn(self)
        else:
            self.answer().add_done_callback(lambda _: self._thread.callbacks.call(fn, self))

    # Its messages

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            message = self._thread.run(self._call.read())
        except grpc.aio.AioRpcError as error:
            raise ThreadedRpcError.of(error) from error.__cause__
        except (CancelledError, ThreadEndedError):
            if self.code() is not grpc.StatusCode.OK:
                raise self._error() from None
            message = grpc.aio.EOF
        if message is grpc.aio.EOF:
            raise StopIteration
        return message

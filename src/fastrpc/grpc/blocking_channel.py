"""`fastrpc.grpc.insecure_channel` and `secure_channel`: channels for threads, with a loop in a thread of their own."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, Self

import grpc

from fastrpc.config import TLS
from fastrpc.grpc.aio import channels
from fastrpc.grpc.loop_thread import LoopThread

__all__ = ["ThreadedCall", "BlockingChannel", "insecure_channel", "secure_channel"]

logger = logging.getLogger("fastrpc.grpc")


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
        self._thread = LoopThread("fastrpc grpc channel")
        self._watches: dict[Any, Future[None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._watches.clear()
        with suppress(RuntimeError):
            self._thread.run(self._inner.close())
        self._thread.stop()

    def subscribe(self, callback: Callable[[Any], object], try_to_connect: bool | None = False) -> None:
        """Have a function called with the state of the connections, now and at each change."""
        self._watches[callback] = self._thread.submit(self._watch(callback, bool(try_to_connect)))

    def unsubscribe(self, callback: Callable[[Any], object]) -> None:
        """Call the function no more."""
        watch = self._watches.pop(callback, None)
        if watch is not None:
            watch.cancel()

    async def _watch(self, callback: Callable[[Any], object], try_to_connect: bool) -> None:
        state = self._inner.get_state(try_to_connect)
        while True:
            callback(state)
            await self._inner.wait_for_state_change(state)
            state = self._inner.get_state()

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


class _BlockingMethod:
    """Calls one method from threads."""

    def __init__(self, thread: LoopThread, inner: Any, takes_stream: bool) -> None:
        self._thread = thread
        self._inner = inner
        self._takes_stream = takes_stream

    def _begin(self, request: Any, *options: Any, **named: Any) -> "ThreadedCall":
        async def begin() -> Any:
            return self._inner(None if self._takes_stream else request, *options, **named)

        call = ThreadedCall(self._thread, self._thread.run(begin()))
        if self._takes_stream:
            call.feed(request)
        return call


class _OneAnswer(_BlockingMethod):
    """Calls a method with one answer."""

    def __call__(self, request: Any, *options: Any, **named: Any) -> Any:
        """Return the answer."""
        if self._takes_stream:
            return self.with_call(request, *options, **named)[0]

        async def answer() -> Any:
            return await self._inner(request, *options, **named)

        return self._thread.run(answer())

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


class ThreadedCall(grpc.Call, grpc.Future):  # type: ignore[misc]
    """A call for threads: a future of its one answer, or an iterator of its messages."""

    def __init__(self, thread: LoopThread, call: Any) -> None:
        self._thread = thread
        self._call = call
        self._answer: Future[Any] | None = None

    def answer(self) -> "Future[Any]":
        """Return the future of the answer, or of the end of a stream."""
        if self._answer is None:
            self._answer = self._thread.submit(self._awaited())
        return self._answer

    async def _awaited(self) -> Any:
        if hasattr(self._call, "__await__"):
            return await self._call
        return await self._call.code()

    def feed(self, requests: Iterator[Any]) -> None:
        """Send the messages of an iterable, taken by a thread of their own."""
        threading.Thread(
            target=self._feed, args=[requests], name="fastrpc grpc requests", daemon=True
        ).start()

    def _feed(self, requests: Iterator[Any]) -> None:
        try:
            for request in requests:
                if self.done():
                    return
                self._thread.run(self._call.write(request))
            self._thread.run(self._call.done_writing())
        except Exception as error:
            if not (
                self.done() or isinstance(error, grpc.RpcError | asyncio.InvalidStateError | CancelledError)
            ):
                logger.exception("the iterable of requests failed")
                self.cancel()

    # grpc.Call

    def _ask(self, name: str) -> Any:
        return self._thread.run(getattr(self._call, name)())

    def code(self) -> grpc.StatusCode:
        return self._ask("code")

    def details(self) -> str:
        return str(self._ask("details"))

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
        self._thread.loop.call_soon_threadsafe(self._call.add_done_callback, lambda _: callback())
        return True

    # grpc.Future

    def cancel(self) -> bool:
        async def cancel() -> Any:
            return self._call.cancel()

        return bool(self._thread.run(cancel()))

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def running(self) -> bool:
        return not self.done()

    def done(self) -> bool:
        return bool(self._call.done())

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self.answer().result(timeout)
        except CancelledError:
            raise grpc.FutureCancelledError from None
        except FutureTimeoutError:
            raise grpc.FutureTimeoutError from None

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
        self.answer().add_done_callback(lambda _: fn(self))

    # Its messages

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            message = self._thread.run(self._call.read())
        except CancelledError:
            raise grpc.FutureCancelledError from None
        if message is grpc.aio.EOF:
            raise StopIteration
        return message

"""`fastrpc.grpc.insecure_channel` and `secure_channel`: channels for threads, with a loop in a separate thread."""

import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import Any, Self

import grpc

from fastrpc.client.inside import pool_of
from fastrpc.config import TLS
from fastrpc.grpc.aio.channels import AioChannel
from fastrpc.grpc.callback_thread import CallbackThread
from fastrpc.grpc.grpcio_credentials import checked_tls
from fastrpc.grpc.instrumentation import warn_of_wrapped
from fastrpc.grpc.loop_thread import LoopThread, ThreadEndedError
from fastrpc.grpc.threaded_calls import CLOSED_UNDER_WAY, ThreadedCall, ThreadedRpcError, cancelled_error

__all__ = ["BlockingChannel", "insecure_channel", "secure_channel"]

CLOSED = "Cannot invoke RPC on closed channel!"


def insecure_channel(
    target: str,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: Any = None,
    *,
    credentials: Any = None,
) -> "BlockingChannel":
    """Return a channel without encryption, with the arguments of grpcio's function and `credentials`."""
    warn_of_wrapped("grpc.insecure_channel")
    return BlockingChannel(AioChannel(target, None, options, compression, None, credentials))


def secure_channel(
    target: str,
    tls: TLS,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: Any = None,
    *,
    credentials: Any = None,
) -> "BlockingChannel":
    """Return a channel with TLS: `tls` is a `fastrpc.TLS`."""
    warn_of_wrapped("grpc.secure_channel")
    return BlockingChannel(AioChannel(target, checked_tls(tls), options, compression, None, credentials))


class BlockingChannel(grpc.Channel):  # type: ignore[misc]
    """Makes the calls of generated stubs."""

    def __init__(self, inner: AioChannel) -> None:
        self._inner = inner
        #: The thread for functions given to `subscribe`. It is a separate thread, because callbacks of calls may wait
        #: for such a function.
        self._states = CallbackThread("fastrpc grpc channel states")
        self._watches: dict[Any, _Watch] = {}
        #: Stubs and calls continue to use the thread after the channel is dropped, as in grpcio.
        self._thread = LoopThread(
            "fastrpc grpc channel",
            close=partial(_close_dropped, inner, self._states, self._watches),
            owner=f"<BlockingChannel of {pool_of(inner.client).target}>",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel and cancel its running calls."""
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
        """Call a function with the state of the connections, now and at each change.

        A function that refers to the channel keeps it alive until `unsubscribe` or `close`.
        """
        self._watches[callback] = watch = _Watch(callback)
        watch.begin(self._thread, _follow(self._inner, self._states, watch.tell, bool(try_to_connect)))

    def unsubscribe(self, callback: Callable[[Any], object]) -> None:
        """Stop calling the function."""
        if callback in self._watches:
            self._watches.pop(callback).end()

    def unary_unary(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return a callable for a method with one request and one answer."""
        return _OneAnswer(self._thread, self._inner.unary_unary(*method, **coders), False)

    def unary_stream(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return a callable for a method that streams its answers."""
        return _Streamed(self._thread, self._inner.unary_stream(*method, **coders), False)

    def stream_unary(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return a callable for a method that takes a stream."""
        return _OneAnswer(self._thread, self._inner.stream_unary(*method, **coders), True)

    def stream_stream(self, *method: Any, **coders: Any) -> "_BlockingMethod":
        """Return a callable for a method that streams both ways."""
        return _Streamed(self._thread, self._inner.stream_stream(*method, **coders), True)


# Objects that hold no reference to the channel, so that the channel may be freed while they exist


class _Watch:
    """The subscription of a function given to `subscribe`. The function may end it even during its start."""

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
    inner: AioChannel,
    states: CallbackThread,
    tell: Callable[[Any], object],
    try_to_connect: bool,
) -> None:
    state = inner.get_state(try_to_connect)
    while True:
        states.call(tell, state)
        await inner.wait_for_state_change(state)
        state = inner.get_state()


async def _close_dropped(inner: AioChannel, states: CallbackThread, watches: dict[Any, _Watch]) -> None:
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

    def _begin(self, request: Any, *options: Any, **named: Any) -> ThreadedCall:
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
            raise cancelled_error(CLOSED_UNDER_WAY) from None

    def with_call(self, request: Any, *options: Any, **named: Any) -> tuple[Any, ThreadedCall]:
        """Return the answer and the call."""
        call = self._begin(request, *options, **named)
        try:
            return call.result(), call
        except BaseException:
            call.cancel()
            raise

    def future(self, request: Any, *options: Any, **named: Any) -> ThreadedCall:
        """Start a call and return it. The call is a future of its answer."""
        call = self._begin(request, *options, **named)
        call.answer()
        return call


class _Streamed(_BlockingMethod):
    """Calls a method that streams its answers."""

    def __call__(self, request: Any, *options: Any, **named: Any) -> ThreadedCall:
        """Start a call and return it. The call is an iterator of its messages."""
        return self._begin(request, *options, **named)

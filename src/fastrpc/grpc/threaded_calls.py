"""Calls of a channel for threads: futures of answers, iterators of messages, and their errors."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, NoReturn, Self

import grpc

from fastrpc.errors import DecodeError, EncodeError
from fastrpc.grpc.aio.calls import CANCELLED_HERE
from fastrpc.grpc.loop_thread import LoopThread, ThreadEndedError

__all__ = ["CLOSED_UNDER_WAY", "ThreadedCall", "ThreadedRpcError", "cancelled_error"]

logger = logging.getLogger("fastrpc.grpc")

CLOSED_UNDER_WAY = "Channel closed!"
FAULTY_REQUESTS = "Exception iterating requests!"


class ThreadedRpcError(grpc.aio.AioRpcError, grpc.Call, grpc.Future):  # type: ignore[misc]
    """The error of a call for threads. It is also the call that failed.

    Programs check the object with `grpc.Call`; `intercept_channel` of grpcio and its interceptors check it with
    `grpc.Future`.
    """

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Self:
        """Convert the error of a call on the loop to an error for threads."""
        text = _text_of_coder(error.__cause__)
        found = cls(
            error.code() if text is None else grpc.StatusCode.INTERNAL,
            error.initial_metadata(),
            error.trailing_metadata(),
            details=error.details() if text is None else text,
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


def _text_of_coder(error: BaseException | None) -> str | None:
    """Return grpcio's text for a message that was not encoded or decoded; None for another error."""
    if isinstance(error, EncodeError | DecodeError) and error.status is error.default_status:
        what = "serializing request" if isinstance(error, EncodeError) else "deserializing response"
        return f"Exception {what}!"
    return None


def cancelled_error(details: str) -> grpc.RpcError:
    """Return the error of a call that this side cancelled, without metadata."""
    nothing = grpc.aio.Metadata()
    return ThreadedRpcError(grpc.StatusCode.CANCELLED, nothing, nothing, details=details)


class ThreadedCall(grpc.Call, grpc.Future):  # type: ignore[misc]
    """A call for threads: a future of its one answer, or an iterator of its messages."""

    def __init__(self, thread: LoopThread, call: Any) -> None:
        self._thread = thread
        self._call = call
        self._answer: Future[Any] | None = None
        #: `_is_cancelled`: whether the call was ended by `cancel`. `_is_faulty`: whether it was ended by its iterable
        #: of requests.
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
        """Send the messages of an iterable, which a separate thread reads."""
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
        """Send a message or the end of messages. Return False if the call is over; its reader gets the error."""
        try:
            self._thread.run(sending)
        except (grpc.RpcError, asyncio.InvalidStateError, CancelledError, ThreadEndedError):
            return False
        return True

    # grpc.Call

    def _ask(self, name: str) -> Any:
        return self._thread.ask(getattr(self._call, name))

    @property
    def _coder_text(self) -> str | None:
        return _text_of_coder(self._call._error)

    def code(self) -> grpc.StatusCode:
        code = self._ask("code")
        if self._is_faulty:
            return grpc.StatusCode.UNKNOWN
        return code if self._coder_text is None else grpc.StatusCode.INTERNAL

    def details(self) -> str:
        details = str(self._ask("details"))
        if self._is_faulty:
            return FAULTY_REQUESTS
        text = self._coder_text
        if text is not None:
            return text
        return CLOSED_UNDER_WAY if details == CANCELLED_HERE and not self._is_cancelled else details

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
        """Cancel the call after recording the reason for readers. Return whether the call was still running."""

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
        """Return the error of a call that this side ended."""
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

    # The messages of the call

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

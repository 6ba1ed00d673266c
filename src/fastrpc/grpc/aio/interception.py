"""Client interceptors of grpc.aio: running their chain, and the call object that the caller gets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import Any

import grpc
from grpc import aio

from fastrpc.grpc.callback_thread import call_logged
from fastrpc.grpc.grpcio_contexts import code_of
from fastrpc.rpc.signature import Kind
from fastrpc.status import Status
from fastrpc.user_code import without_exit

__all__ = [
    "InterceptedCall",
    "InterceptedStreamStreamCall",
    "InterceptedStreamUnaryCall",
    "InterceptedUnaryStreamCall",
    "InterceptedUnaryUnaryCall",
    "intercepted",
    "sorted_by_kind",
]

#: The function that makes the call itself from its details and its request.
Begin = Callable[[aio.ClientCallDetails, Any], Any]

_KINDS: dict[Kind, tuple[type[Any], str]] = {
    "unary": (aio.UnaryUnaryClientInterceptor, "intercept_unary_unary"),
    "server_stream": (aio.UnaryStreamClientInterceptor, "intercept_unary_stream"),
    "client_stream": (aio.StreamUnaryClientInterceptor, "intercept_stream_unary"),
    "both_ways": (aio.StreamStreamClientInterceptor, "intercept_stream_stream"),
}
_END = object()


def sorted_by_kind(interceptors: Sequence[Any]) -> dict[Kind, list[Any]]:
    """Return the interceptors by the kind of call that they intercept. An interceptor of several kinds is in each list.

    Raises:
        ValueError: an object is not an interceptor of grpc.aio's channels.
    """
    for one in interceptors:
        if not isinstance(one, aio.ClientInterceptor):
            raise ValueError(
                f"{type(one).__qualname__} is not an interceptor of grpc.aio: derive it from one of its classes, such "
                "as aio.UnaryUnaryClientInterceptor"
            )
    return {kind: [one for one in interceptors if isinstance(one, cls)] for kind, (cls, _) in _KINDS.items()}


def intercepted(
    kind: Kind, interceptors: Sequence[Any], begin: Begin, details: aio.ClientCallDetails, request: Any
) -> "InterceptedCall":
    """Start a call that passes the interceptors, and return its object."""
    made = _CALLS[kind]()
    requests = request
    if isinstance(made, _Writing) and request is None:
        requests = made.written()
    made.begin(_chain(kind, interceptors, begin, details, requests))
    return made


async def _chain(
    kind: Kind, interceptors: Sequence[Any], begin: Begin, details: aio.ClientCallDetails, request: Any
) -> Any:
    """Run the interceptors, beginning with the first. Return the call, or the answer that replaces it."""
    if not interceptors:
        return begin(details, request)
    first, *rest = interceptors
    made: list[Any] = []

    async def proceed(details: aio.ClientCallDetails, request: Any) -> Any:
        made.append(await _chain(kind, rest, begin, details, request))
        return made[-1]

    found = await getattr(first, _KINDS[kind][1])(proceed, details, request)
    if isinstance(found, aio.Call):
        return found
    return _Answered(found) if kind == "unary" else _Iterated(found, made[-1] if made else None)


class _Answered(aio.UnaryUnaryCall):  # type: ignore[misc]
    """A call that an interceptor answered."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self._answer

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False

    cancelled = cancel

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        callback(self)

    def time_remaining(self) -> None:
        return None

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""

    async def initial_metadata(self) -> None:
        return None

    trailing_metadata = initial_metadata
    wait_for_connection = initial_metadata


class _Iterated:
    """A call whose messages an interceptor replaced by an iterator."""

    def __init__(self, messages: Any, call: Any) -> None:
        self._messages = messages
        self._call = _Answered(None) if call is None else call

    def __aiter__(self) -> AsyncIterator[Any]:
        found: AsyncIterator[Any] = self._messages.__aiter__()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


# Registered, not derived: `_Iterated` gets its methods from the call that it wraps.
aio.UnaryStreamCall.register(_Iterated)
aio.StreamStreamCall.register(_Iterated)


class InterceptedCall(aio.Call):  # type: ignore[misc]
    """The caller's object for a call, while the interceptors and the call inside them run."""

    _task: asyncio.Task[Any]

    def begin(self, chain: Any) -> None:
        """Run the chain, which returns the call."""
        self._task = asyncio.get_running_loop().create_task(without_exit(chain, "an interceptor"))

    def _known(self) -> Any:
        """Return the inner call, or None while the interceptors run or after they failed."""
        has_call = self._task.done() and not self._task.cancelled() and self._task.exception() is None
        return self._task.result() if has_call else None

    def cancel(self) -> bool:
        call = self._known()
        return bool(self._task.cancel() if call is None else call.cancel())

    def cancelled(self) -> bool:
        if self._task.cancelled():
            return True
        call = self._known()
        if call is not None:
            return bool(call.cancelled())
        error = self._task.exception() if self._task.done() else None
        return isinstance(error, aio.AioRpcError) and error.code() is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        call = self._known()
        return self._task.done() if call is None else bool(call.done())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self.done():
            callback(self)
        elif (call := self._known()) is not None:
            call.add_done_callback(lambda _: call_logged(callback, self))
        else:
            self._task.add_done_callback(lambda _: call_logged(self.add_done_callback, callback))

    def time_remaining(self) -> float | None:
        call = self._known()
        return None if call is None else call.time_remaining()

    async def _asked(self, name: str, of_error: Callable[[aio.AioRpcError], Any], if_cancelled: Any) -> Any:
        """Return a property of the inner call, or of the interceptors' error."""
        await asyncio.wait([self._task])
        if self._task.cancelled():
            return if_cancelled
        error = self._task.exception()
        if isinstance(error, aio.AioRpcError):
            return of_error(error)
        return await getattr(self._task.result(), name)()

    async def initial_metadata(self) -> Any:
        return await self._asked("initial_metadata", lambda error: error.initial_metadata(), None)

    async def trailing_metadata(self) -> Any:
        return await self._asked("trailing_metadata", lambda error: error.trailing_metadata(), None)

    async def code(self) -> Any:
        return await self._asked("code", lambda error: error.code(), code_of(Status.CANCELLED))

    async def details(self) -> Any:
        return await self._asked(
            "details", lambda error: error.details(), "Locally cancelled by application!"
        )

    async def wait_for_connection(self) -> None:
        await (await self._task).wait_for_connection()


class _Answering(InterceptedCall):
    """A call with one answer."""

    def __await__(self) -> Generator[Any, None, Any]:
        call = yield from self._task.__await__()
        return (yield from call.__await__())


class _Reading(InterceptedCall):
    """A call with a stream of answers."""

    _iterator: AsyncIterator[Any] | None = None

    async def _messages(self) -> AsyncIterator[Any]:
        async for message in await self._task:
            yield message

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._messages()
        return self._iterator

    async def read(self) -> Any:
        try:
            return await anext(aiter(self))
        except StopAsyncIteration:
            return aio.EOF


class _Writing(InterceptedCall):
    """A call with a stream of requests."""

    _requests: "asyncio.Queue[Any] | None" = None

    def written(self) -> AsyncIterator[Any]:
        """Return the requests that are written by hand."""
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._requests = queue

        async def requests() -> AsyncIterator[Any]:
            while (request := await queue.get()) is not _END:
                yield request

        return requests()

    async def write(self, request: Any) -> None:
        if self._requests is None:
            raise aio.UsageError("a call takes its requests from an iterable or by write(), not both")
        call = await self._task
        if call.done():
            raise asyncio.InvalidStateError("the call is over")
        putting = asyncio.ensure_future(self._requests.put(request))
        ending = asyncio.ensure_future(call.code())
        await asyncio.wait([putting, ending], return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        ending.cancel()

    async def done_writing(self) -> None:
        if not self.done():
            await self.write(_END)


class InterceptedUnaryUnaryCall(_Answering, aio.UnaryUnaryCall):  # type: ignore[misc]
    """A call with one request and one answer."""


class InterceptedUnaryStreamCall(_Reading, aio.UnaryStreamCall):  # type: ignore[misc]
    """A call with a stream of answers."""


class InterceptedStreamUnaryCall(_Answering, _Writing, aio.StreamUnaryCall):  # type: ignore[misc]
    """A call with a stream of requests."""


class InterceptedStreamStreamCall(_Reading, _Writing, aio.StreamStreamCall):  # type: ignore[misc]
    """A call with streams both ways."""


_CALLS: dict[Kind, type[InterceptedCall]] = {
    "unary": InterceptedUnaryUnaryCall,
    "server_stream": InterceptedUnaryStreamCall,
    "client_stream": InterceptedStreamUnaryCall,
    "both_ways": InterceptedStreamStreamCall,
}

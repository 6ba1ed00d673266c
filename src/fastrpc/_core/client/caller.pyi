from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, TypeVarTuple, Unpack, final, overload

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.batch_call import BatchCall, BatchMember
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.caller_view import CallerView
from fastrpc._core.client.client_call import ClientCall
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply
from fastrpc.rpc.upload import Upload

@final
class AwaitedBatch(BatchCall):
    """The calls of a batch that a task awaits.

    Its members share one timer, and the next batch reuses them: to send a batch of 512 and to collect its values takes
    the client 40 µs.
    """

    def is_long(self, head: AwaitedCall) -> bool:
        """Return whether its arguments are long enough for compression in slices: each call is then made separately."""

    def packed(self) -> list[BatchMember]:
        """Return the calls whose answers are still compressed."""

    def collect(self, head: AwaitedCall) -> list[object]:
        """Return the results of the calls, with errors in place of values. Can be called once."""

    def attempted(self, head: ClientCall, index: int) -> AwaitedCall:
        """Return one of the calls for the runner to continue; the batch made its first attempt."""

    def attempt_on(self, head: AwaitedCall, session: Any) -> AwaitedCall:
        """Return a coroutine that makes all calls on a connection and returns the results; errors replace values."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

class _UseStream:
    """The static result of `call` and `request` for a method that streams: awaiting it is a type error.

    Use `stream`, or `open` to send as well.
    """

class Caller(CallerView):
    """The compiled part of `Client`: the verbs whose every call counts.

    Give a method as `Arith.mul`: arguments and result then have the method's types. Or give its full name,
    `"arith.mul"`, without types. The parameters of a method may have any names, even `method`.

    Every verb returns a coroutine object, which `asyncio.create_task` and `TaskGroup.create_task` take. Nothing is sent
    before the coroutine is first awaited; a coroutine that is never awaited causes a warning. Calls awaited in one turn
    of the loop share few writes. Cancelling the task that awaits a call cancels the handler.
    """

    @property
    def _state(self) -> CallerState:
        """The state that the client and its views share."""

    # `Awaitable`, not `Coroutine`, as the method's result: third-party decorators return that.
    @overload
    def call(
        self, method: Callable[Concatenate[Any, _P], Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, _T]:
        """Call a method and return its answer.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. Its time
        is limited by `with_options(timeout=)`, the method's timeout or `Timeouts.call`, the first of them that is set.
        `call` returns a coroutine: nothing is sent before it is awaited.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer is available now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot be encoded, or is too large.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to another loop, or to the process before a fork.
        """

    @overload
    def call(
        self,
        method: Callable[Concatenate[Any, Upload, _P], Awaitable[_T]],
        pieces: AsyncIterable[bytes] | Iterable[bytes],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def call(  # type: ignore[overload-overlap]
        self,
        method: Callable[Concatenate[Any, _P], AsyncIterator[Any] | Iterator[Any]],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _UseStream: ...
    @overload
    def call(
        self, method: Callable[Concatenate[Any, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]: ...
    @overload
    def request(
        self, method: Callable[Concatenate[Any, _P], Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, Reply[_T]]:
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Like `call` in everything else, errors included.
        """

    @overload
    def request(
        self,
        method: Callable[Concatenate[Any, Upload, _P], Awaitable[_T]],
        pieces: AsyncIterable[bytes] | Iterable[bytes],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Coroutine[Any, Any, Reply[_T]]: ...
    @overload
    def request(  # type: ignore[overload-overlap]
        self,
        method: Callable[Concatenate[Any, _P], AsyncIterator[Any] | Iterator[Any]],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _UseStream: ...
    @overload
    def request(
        self, method: Callable[Concatenate[Any, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, Reply[_T]]: ...
    @overload
    def request(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Reply[Any]]: ...
    @overload
    def notify(
        self, method: Callable[Concatenate[Any, _P], Any], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, None]:
        """Call a method without an answer; done when the bytes are handed over.

        The caller does not learn whether the handler ran or failed; errors on this side are raised as for `call`.
        """

    @overload
    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, None]: ...
    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], Awaitable[_T]],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Coroutine[Any, Any, list[_T]]:
        """Call a method once for each tuple of arguments: one write, one wake-up, answers in order.

        Without `return_exceptions` the first error is raised after all calls ended; with it errors are in the list. All
        calls together have the time of one `call`.
        """

    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], Awaitable[_T]],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> Coroutine[Any, Any, list[_T | FastRPCError]]: ...
    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], _T],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Coroutine[Any, Any, list[_T]]: ...
    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], _T],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> Coroutine[Any, Any, list[_T | FastRPCError]]: ...
    @overload
    def call_many(
        self,
        method: str,
        arguments: Iterable[tuple[Any, ...]],
        /,
        *,
        return_exceptions: bool = False,
    ) -> Coroutine[Any, Any, list[Any]]: ...

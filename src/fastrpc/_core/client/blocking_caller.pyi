from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, TypeVarTuple, Unpack, final, overload

from fastrpc._core.client.batch_call import BatchCall
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.blocking_state import BlockingState
from fastrpc._core.client.caller_view import CallerView
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply
from fastrpc.rpc.upload import Upload

@final
class BlockingBatch(BatchCall):
    """The calls of a batch that a thread waits for."""

    def attempt_on(self, head: BlockingCall, session: BlockingSession) -> bool:
        """Start the batch on a connection, or return False; the caller has to call `finish` next."""

    def finish(self, head: BlockingCall) -> list[object]:
        """Return the answers to a batch that was started; failed calls have their error."""

_P = ParamSpec("_P")
_S = TypeVar("_S")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

class _UseStream:
    """The static result of `call` and `request` for a method that streams: it is not a value of the method's.

    Use `stream`.
    """

class BlockingCaller(CallerView):
    """The compiled part of `SyncClient`: the verbs whose every call counts.

    A method is given as `Arith.mul`, and then arguments and result are typed as that method is; or by its
    full name, `"arith.mul"`, untyped. Its parameters may have any names, `method` too. Where a method takes a
    stream as its first parameter, an iterable of messages is passed.

    Every verb blocks until it is done and may be used from any thread; the GIL is released meanwhile.
    """

    @property
    def _state(self) -> BlockingState: ...
    @overload
    def call(
        self, method: Callable[Concatenate[Any, _P], Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Call a method, block until its answer comes, and return it.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. It may
        take as many seconds as `with_options(timeout=)`, the method or `Timeouts.call` says, the first that is set.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer is available now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot be encoded, or is too large.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to the process before a fork.
        """

    @overload
    def call(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[_S], _P], Awaitable[_T]],
        messages: Iterable[_S],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T: ...
    @overload
    def call(
        self,
        method: Callable[Concatenate[Any, Upload, _P], Awaitable[_T]],
        pieces: Iterable[bytes],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T: ...
    @overload
    def call(
        self,
        method: Callable[Concatenate[Any, _P], AsyncIterator[Any] | Iterator[Any]],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _UseStream: ...
    @overload
    def call(
        self, method: Callable[Concatenate[Any, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T: ...
    @overload
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    @overload
    def request(
        self, method: Callable[Concatenate[Any, _P], Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Reply[_T]:
        """Call a method and return its answer with metadata, endpoint, attempts and seconds.

        Like `call` in everything else, errors included.
        """

    @overload
    def request(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[_S], _P], Awaitable[_T]],
        messages: Iterable[_S],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Reply[_T]: ...
    @overload
    def request(
        self,
        method: Callable[Concatenate[Any, Upload, _P], Awaitable[_T]],
        pieces: Iterable[bytes],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Reply[_T]: ...
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
    ) -> Reply[_T]: ...
    @overload
    def request(self, method: str, /, *args: Any, **kwargs: Any) -> Reply[Any]: ...
    @overload
    def notify(
        self, method: Callable[Concatenate[Any, _P], Any], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Call a method without an answer; returns when the bytes are handed over.

        The caller does not learn whether the handler ran or failed; errors on this side are raised as for `call`.
        """

    @overload
    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...
    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], Awaitable[_T]],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> list[_T]:
        """Call a method once for each tuple of arguments: one write, answers in order.

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
    ) -> list[_T | FastRPCError]: ...
    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], _T],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> list[_T]: ...
    @overload
    def call_many(
        self,
        method: Callable[[Any, Unpack[_Ts]], _T],
        arguments: Iterable[tuple[Unpack[_Ts]]],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> list[_T | FastRPCError]: ...
    @overload
    def call_many(
        self, method: str, arguments: Iterable[tuple[Any, ...]], /, *, return_exceptions: bool = False
    ) -> list[Any]: ...

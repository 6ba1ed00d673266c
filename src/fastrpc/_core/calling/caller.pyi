from asyncio import AbstractEventLoop
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, TypeVarTuple, Unpack, final, overload

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.retry_budget import RetryBudget
from fastrpc._core.calling.caller_view import CallerView, ViewOptions, ViewState
from fastrpc._core.calling.client_session import ClientSession
from fastrpc._core.calling.coroutine_call import CoroutineCall
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.calls.call import Route
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

class _UseStream:
    """What `call` and `request` say they return for a method that streams: awaiting it is a type error.

    Use `stream`, or `open` to send as well.
    """

@final
class CallerState(ViewState):
    """What a client and its views share.

    Args:
        runner: Python's part of the client, asked for all that does not happen in every call.
        resolve: method and codec name -> Route.
        budget: counts the calls.
        endpoint set: picks where there is a choice; the `subchannel` of each endpoint has its `session`.
    """

    #: Whether calls always go through the runner: there are interceptors, or a selector.
    needs_runner: bool

    def __init__(
        self,
        runner: Any,
        resolve: Callable[[Any, str], Route],
        budget: RetryBudget,
        endpoint_set: EndpointSet | None = None,
    ) -> None: ...
    @property
    def endpoint_set(self) -> EndpointSet | None: ...
    @property
    def budget(self) -> RetryBudget: ...
    @property
    def loop(self) -> AbstractEventLoop | None:
        """The loop of the first use."""

    @property
    def runner(self) -> Any: ...
    def set_sessions(self, sessions: Iterable[ClientSession]) -> None:
        """Replace the connections that calls may go out on."""

    @property
    def is_of_parent(self) -> bool:
        """Whether the client was used, and that was before a fork."""

    def use(self) -> None:
        """Bind to the running loop, or refuse another one.

        Raises:
            RuntimeError: the client was used in another loop, or before a fork.
        """

class Caller(CallerView):
    """The compiled part of `Client`: the verbs whose every call counts.

    A method is given as `Arith.mul`, and then arguments and result are typed as that method is; or by its
    full name, `"arith.mul"`, untyped. Its parameters may have any names, `method` too.

    Every verb returns a coroutine object. Nothing is sent before it is first awaited, `asyncio.create_task` and
    `TaskGroup.create_task` take it, and one never awaited warns. Calls awaited in one turn of the loop
    leave in one write. Cancelling the task that awaits one cancels the handler.
    """

    @property
    def _state(self) -> CallerState:
        """What the client and its views share."""

    # `Awaitable`, not `Coroutine`, as the method's result: that is what third-party decorators return.
    @overload
    def call(
        self, method: Callable[Concatenate[Any, _P], Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, _T]:
        """Call a method and return its answer.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. The first
        that is set of `with_options(timeout=)`, the method's timeout and `Timeouts.call` limits its time in seconds.
        The call is a coroutine: nothing is sent before it is awaited.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the deadline passed, at the client or the server.
            UnavailableError: no server can answer now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot be encoded, or is too large.
            DecodeError: the answer does not fit the method's annotation.
            RuntimeError: the client belongs to another loop, or to the process before a fork.
        """

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

        Otherwise as `call`, errors included.
        """

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

        The outcome of the handler stays unknown; errors before the send are raised as for `call`.
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

        Without `return_exceptions` the first error is raised after all calls ended; with it errors stand in
        the list. All calls share the deadline of one `call`.
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

class PickedCall(CoroutineCall):
    """What the endpoint set gave a place, one call or a batch of them."""

    @property
    def _options(self) -> ViewOptions: ...
    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def _is_attempt(self) -> bool:
        """Whether it is an attempt of another call."""

@final
class ClientCall(PickedCall):
    """What `call`, `request` and `notify` return: awaiting it makes the call."""

    @property
    def _is_one_way(self) -> bool:
        """Whether `notify` made it, which nothing answers."""

    @property
    def _wants_reply(self) -> bool:
        """Whether `request` made it, which returns more than the value."""

    @property
    def arguments(self) -> tuple[Any, ...]: ...
    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait, in an interceptor."""

    @property
    def endpoint(self) -> Any:
        """Where it went last, or None."""

    @property
    def retry_policy(self) -> Any:
        """The rules and the budget of its client."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    # For the runner

    def _finish_unpacked(self) -> Any:
        """Return what the answer stands for, now that it is decompressed."""

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _attempt_on(self, session: ClientSession, number: int) -> ClientCall:
        """Return a coroutine that makes attempt `number` on a connection, within the call's deadline."""

    def _lose(self) -> None:
        """Note that another attempt was faster: when this one is cancelled, the server is told why."""

    def _adopt(self, attempt: ClientCall) -> None:
        """Take over what an attempt learned: the answer's metadata, where it came from, when it ended."""

@final
class BatchMember(PendingCall):
    """One call of a batch."""

@final
class BatchCall(PickedCall):
    """What `call_many` returns: many calls, one write, one wake-up.

    Its members share one timer and are used again by the next batch: to send a batch of 512 and to collect its values
    takes the client 40 µs.
    """

    @property
    def _size(self) -> int:
        """How many calls it is."""

    @property
    def _returns_errors(self) -> bool:
        """Whether errors are results."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Those of its first call, which stand for the batch where it is placed by them."""

    def _packed(self) -> list[BatchMember]:
        """Those of its calls whose answers are not decompressed yet."""

    def _collect(self) -> list[Any]:
        """Return what its calls stand for, errors in place of values; once."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    def _start_clock(self) -> None:
        """Give the batch its deadline before there is a connection.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _single(self, index: int) -> ClientCall:
        """Return a coroutine that makes one of the calls by itself, within the batch's deadline."""

    def _attempted(self, index: int) -> ClientCall:
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""

    def _attempt_on(self, session: ClientSession) -> BatchCall:
        """Return a coroutine that makes the whole batch on a connection and gives errors in place of values."""

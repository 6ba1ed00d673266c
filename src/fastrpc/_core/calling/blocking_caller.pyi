from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, TypeVarTuple, Unpack, final, overload

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.retry_budget import RetryBudget
from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc._core.calling.caller_view import CallerView, ViewOptions, ViewState
from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.calling.reentry import ReentryGuard
from fastrpc._core.calls.call import Route
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply
from fastrpc.status import Status

_P = ParamSpec("_P")
_S = TypeVar("_S")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

class _UseStream:
    """What `call` and `request` say they return for a method that streams: it is no value of the method's.

    Use `stream`.
    """

@final
class BlockingState(ViewState):
    """What a SyncClient and its views share.

    Args:
        width: connections that an endpoint may have.
    """

    #: Gives it new parts by `take_parts`: in the child of a fork those there are belong to the parent.
    remake: Callable[[], object]

    #: Whether calls always go through the runner: there are interceptors.
    needs_runner: bool
    #: Whether a registry names the endpoints: then the pool's `has_news` is asked before each call.
    follows: bool

    def __init__(self, width: int) -> None: ...
    def take_parts(
        self,
        runner: Any,
        resolve: Callable[[Any, str], Route],
        reentry: ReentryGuard,
        budget: RetryBudget,
        endpoint_set: EndpointSet | None = None,
    ) -> None:
        """Work with these parts from now on; views follow.

        Args:
            runner: Python's part of the client, asked for all that does not happen in every call.
            resolve: method and codec name -> Route.
            reentry: knows which threads wait inside.
            budget: counts the calls.
            endpoint set: picks the endpoint of each call where there are several; None where there is one.
        """

    @property
    def reentry(self) -> ReentryGuard: ...
    @property
    def is_of_parent(self) -> bool:
        """Whether this is the child of a fork, and the client was not used in it yet."""

    @property
    def endpoint_set(self) -> EndpointSet | None: ...
    @property
    def budget(self) -> RetryBudget: ...
    @property
    def runner(self) -> Any: ...
    def set_sessions(self, groups: list[list[BlockingSession]], look_after: float | None) -> None:
        """Replace the connections that calls go out on.

        Args:
            groups: a list for each endpoint.
            look_after: an instant of `time.monotonic()` from which the runner is asked first, or None.
        """

    def look_now(self) -> None:
        """Have the next call ask the runner first."""

    def use(self) -> None:
        """Make its parts anew in the child of a fork.

        Raises:
            RuntimeError: this thread waits inside the client already, or a registry was used before the fork.
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
        """Call a method and return its answer; blocks until it is there.

        Give the method as `Arith.mul`, which types arguments and result, or by its full name, `"arith.mul"`. It may
        take as many seconds as `with_options(timeout=)`, the method or `Timeouts.call` says, the first that is set.

        Raises:
            TypeError: arguments do not fit the method's signature; nothing was sent.
            CallError: the server refused, or the handler failed.
            DeadlineExceededError: the time was over, here or there.
            UnavailableError: no answer can be had now; `retryable` and `processed` say what that means.
            EncodeError: an argument cannot travel, or not with that size.
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

        Otherwise as `call`, errors included.
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

        Whether the handler ran, or failed, nobody hears; what stands in the way here raises as for `call`.
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

        Without `return_exceptions` the first error is raised after all calls ended; with it errors stand in
        the list. The time of one `call` is there for all of them together.
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

@final
class BlockingCall(PendingCall):
    """One call of a thread, or one attempt of it."""

    @property
    def _options(self) -> ViewOptions: ...
    @property
    def _is_one_way(self) -> bool:
        """Whether `notify` made it, which nothing answers."""

    @property
    def _wants_reply(self) -> bool:
        """Whether `request` made it, which returns more than the value."""

    @property
    def arguments(self) -> tuple[Any, ...]: ...
    @property
    def endpoint(self) -> Endpoint | None:
        """Where it went last."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def retry_policy(self) -> Any:
        """The rules and the budget of its client."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    @property
    def draining(self) -> Awaitable[Any]:
        """Done once the server drains: on this side never, so an interceptor that awaits it is refused."""

    async def sleep(self, seconds: float) -> None:
        """Wait, in an interceptor: blocks the thread, as everything here does."""

    # For the runner

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _attempt_on(self, session: BlockingSession, number: int) -> BlockingCall | None:
        """Start attempt `number` of this call on a connection; None when that takes no calls any more.

        It has the call's deadline; `_finish` has to follow.
        """

    def _finish(self) -> Any:
        """Return the answer to an attempt that was started, or raise its error."""

    def _cancel(self) -> None:
        """Give up an attempt that another thread waits for, and let that thread go."""

    def _adopt(self, attempt: BlockingCall) -> None:
        """Take over what an attempt learned: the answer's metadata, where it came from, when it ended."""

@final
class BatchMember(PendingCall):
    """One call of a batch."""

@final
class BlockingBatch:
    """Many calls of one thread: one write, one wake-up."""

    @property
    def _options(self) -> ViewOptions: ...
    @property
    def _size(self) -> int:
        """How many calls it is."""

    @property
    def _returns_errors(self) -> bool:
        """Whether errors are results."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Those of its first call, which stand for the batch where it is placed by them."""

    @property
    def method(self) -> str:
        """Full name of the method."""

    @property
    def deadline(self) -> float | None:
        """Instant of `time.monotonic()` at which the batch ends, or None."""

    @property
    def _elapsed(self) -> float:
        """How long the batch takes already."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    def _attempt_on(self, session: BlockingSession) -> bool:
        """Start the batch on a connection, or return False; `_finish` has to follow."""

    def _finish(self) -> list[Any]:
        """Return the answers to a batch that was started, errors in place of those that failed."""

    def _count_unsent(self, status: Status) -> None:
        """Count calls that failed before a connection could be had, all of them."""

    def _single(self, index: int) -> BlockingCall:
        """Return one of the calls, to be made from its beginning."""

    def _attempted(self, index: int) -> BlockingCall:
        """Return one of the calls, of which an attempt was made with the batch: for the runner to go on with."""

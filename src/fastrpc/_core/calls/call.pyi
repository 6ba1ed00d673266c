import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, Final, Literal, final

from fastrpc._core.base.histogram import CallTotals, MethodCounters
from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.payload.arguments import ParameterNames
from fastrpc._core.payload.marshal import Marshal
from fastrpc._core.payload.metadata import Metadata
from fastrpc.peers.peer import Peer
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

#: Flags of a REQUEST by the kind of its method.
KIND_FLAGS: Final[dict[str, int]]
#: The numbers of the ways in which handlers run.
STYLES: Final[dict[str, int]]

@final
class CurrentCall:
    """The current call of a context that several handlers use in turn."""

@final
class MethodRoute:
    """The route of one method: its marshal, handler and counters.

    Args:
        totals: the totals of the calling client.
        handler: the bound method that serves it; None on a client.
        timeout: seconds, overriding the method's own.
        sent_as: its name on the wire where callers in another language have another one.
    """

    def __init__(
        self,
        definition: MethodDefinition,
        marshal: Marshal,
        counters: MethodCounters,
        *,
        totals: CallTotals | None = None,
        handler: Callable[..., Any] | None = None,
        timeout: float | None = None,
        sent_as: str | None = None,
    ) -> None: ...
    def set_protocol(self, protocol: str, make_form: Callable[[str], MethodRoute] | None = None) -> None:
        """Set the protocol of the connections that use this route.

        Args:
            make_form: makes the route of the same method for connections of another protocol, by its name; None
                without such connections.
        """

    #: Whether it is a mounted application: without codec and interceptors, and not cancelled when its caller leaves.
    is_application: bool

    @property
    def protocol(self) -> str | None:
        """The name of the protocol of its connections; None on a server."""

    @property
    def method(self) -> str:
        """Full name, `service.method`."""

    @property
    def kind(self) -> Literal["unary", "client_stream", "server_stream", "both_ways"]: ...
    @property
    def definition(self) -> MethodDefinition: ...
    @property
    def marshal(self) -> Marshal: ...
    @property
    def counters(self) -> MethodCounters: ...
    @property
    def totals(self) -> CallTotals: ...
    @property
    def names(self) -> ParameterNames | None:
        """The parameter names that calls may send; None on a client."""

    @property
    def handler(self) -> Any:
        """The bound method that serves it; None on a client, and once it was released."""

    @property
    def is_withdrawn(self) -> bool:
        """Whether its service was removed, so that calls are refused before they start."""

    def withdraw(self) -> None:
        """Refuse calls from now on, before they start."""

    @property
    def is_released(self) -> bool:
        """Whether it is withdrawn and none of its calls is under way any more."""

    def release(self) -> None:
        """Drop the handler of a withdrawn route, whose last call has ended."""

    def bring_back(self, handler: Callable[..., Any]) -> None:
        """Serve calls again."""

@final
class RouteTable:
    """The methods of a server, found by the bytes of a frame."""

    def add(self, *routes: MethodRoute) -> None:
        """Add routes, all or none. They replace withdrawn ones of the same names.

        Raises: ConfigError: a route of this name exists already. TypeError: a name is an alias of one method and also
            names another one.
        """

    def remove(self, *routes: MethodRoute) -> None:
        """Remove routes, with all of their names."""

    def get(self, method: str) -> MethodRoute | None:
        """Return the route of a full method name."""

    @property
    def changes(self) -> int:
        """The number of changes of the methods."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[MethodRoute]: ...

@final
class Draining(Coroutine[Any, Any, Literal[True]]):
    """The awaitable `Call.draining`: it costs nothing until it is awaited, and may stay unawaited."""

    def __init__(self, event: asyncio.Event) -> None: ...
    def notify(self, function: Callable[[], None]) -> None:
        """Call a function, without arguments, once it is done; at once if it is done already.

        It needs no task: `fastrpc.store.watch` waits thousands of times for changes and the drain.
        """

    def forget(self, function: Callable[[], None]) -> None:
        """Do not call a function any more."""
    def __await__(self) -> Generator[Any, Any, Literal[True]]: ...
    def send(self, value: Any) -> Any:
        """Take one step, as a coroutine does."""

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        """Raise an exception at its await."""

    def close(self) -> None:
        """End without waiting."""

@final
class Incoming:
    """An incomplete message: its first piece, and the payload so far."""

@final
class StreamWindow:
    """The window for the messages of one stream; a separate object, as most calls have none."""

class Call(Timed):
    """One RPC and everything about it, the same on both sides.

    A handler gets its own from `current_call()`, an interceptor as its first argument.
    """

    #: For `invocation`: the call itself returned None; an interceptor dropped the result of `proceed`.
    _gave_none: bool
    _dropped_proceed: bool

    @property
    def id(self) -> int:
        """Number on its connection; 0 until a call of ours is sent."""

    @property
    def method(self) -> str:
        """Full name, `service.method`."""

    @property
    def route(self) -> MethodRoute: ...
    @property
    def kind(self) -> Literal["unary", "client_stream", "server_stream", "both_ways"]: ...
    @property
    def side(self) -> Literal["client", "server"]: ...
    def _has_received(self, keys: frozenset[bytes]) -> bool:
        """Return whether the received metadata has one of these keys, without decoding it."""

    @property
    def attempt(self) -> int:
        """0 for the first attempt; each retry and hedge has the next number."""

    @property
    def priority(self) -> int: ...
    @property
    def deadline(self) -> float | None:
        """Instant of `time.monotonic()` at which the call ends, or None."""

    def remaining(self) -> float | None:
        """Return the seconds left before the deadline, never below 0; None without one."""

    @property
    def metadata(self) -> Metadata:
        """The metadata of the request."""

    @property
    def reply_metadata(self) -> Metadata:
        """The metadata of the answer.

        A handler may also assign a mapping of text and, under keys that end in `-bin`, of bytes.
        """

    @reply_metadata.setter
    def reply_metadata(self, entries: Metadata | Mapping[str, str | bytes]) -> None: ...
    @property
    def _received_block(self) -> bytes:
        """The raw received metadata, with repeated keys if the protocol allows them; or b""."""

    def _send_block(self, block: bytes | None) -> None:
        """Send this encoded metadata with the request, instead of the metadata of the call options."""

    @property
    def peer(self) -> Peer:
        """The other side of the connection."""

    @property
    def identity(self) -> Identity | None:
        """The authenticated identity of the caller; None without authentication."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments, decoded on first use."""

    @property
    def state(self) -> dict[Any, Any]:
        """A place for interceptors and handlers of this call; never sent."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller cancelled the call or its deadline passed; may be read from any thread."""

    @property
    def draining(self) -> Draining:
        """Done once the server drains or the connection is closing, so that endless handlers can end.

        Each access returns a new awaitable; on a client it is never done.
        """

    @property
    def status(self) -> Status | None:
        """The status of the call; set before an interceptor's `proceed` returns."""

    @property
    def error(self) -> BaseException | None:
        """The error of the call, or None; set before an interceptor's `proceed` returns."""

    def _note_outcome(self, status: Status | None, error: BaseException | None) -> None:
        """Keep the outcome of the call for the interceptors around it."""

    def wrap_sent(self, function: Callable[[Any], Any]) -> None:
        """Replace each sent message by the result of a function; call it in an interceptor, before `proceed`.

        An error of the function ends the stream. The first function given is called first.

        Raises:
            RuntimeError: the call is unary, or has begun.
        """

    def wrap_received(self, function: Callable[[Any], Any]) -> None:
        """Replace each received message by the result of a function; call it in an interceptor, before `proceed`.

        An error of the function ends the stream. The first function given is called last.

        Raises:
            RuntimeError: the call is unary, or has begun.
        """

    async def send_metadata(self) -> None:
        """Send the present `reply_metadata` now, ahead of the first message of the handler's stream.

        Raises:
            RuntimeError: the answer is not a stream, the first metadata was sent already, or this side made the call.
        """

    def http(
        self,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        compress: bool | None = None,
    ) -> None:
        """Set the status and header fields of an answer over HTTP; other protocols have neither.

        Args:
            status: 200 to 299, 301 to 303, 307 or 308. With 204 or 205 the result is None.
            headers: fields of the response by their names, beside the fields that the gateway sets. Safe methods may
                set `Cache-Control`, which is `no-store` by default, and `Vary`. With `ETag` or `Last-Modified` a GET
                whose client has this answer is answered by 304. A GET by Connect has these fields, too.
            compress: whether the answer is compressed if the client accepts it; None: as `HTTP.compress` says. Answers
                that contain both a secret and text of another caller are safer without.

        Raises:
            ValueError: the status is another one, or a field is the gateway's, `Meta-*` or `Access-Control-*`, is for
                safe methods alone, or its value has CR, LF or NUL.
            RuntimeError: the head of the answer was sent, or this side made the call.
        """

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Sleep in an interceptor; works without a loop too, in SyncClient."""

def enter_scope(seconds: float | None) -> Token[Call]:
    """Limit the calls made from here on to `seconds` from now; return the token for `leave_scope`.

    None detaches from the current call: calls made inside have no deadline and no owner.
    """

def leave_scope(token: Token[Call]) -> None:
    """Undo `enter_scope` or `enter_call`."""

def scope_deadline() -> float | None:
    """Return the deadline of calls made here: an instant of `time.monotonic()`, or None."""

def enter_call(call: Call) -> Token[Call]:
    """Make `current_call()` return this call; return the token for `leave_scope`."""

def current_call() -> Call:
    """Return the call whose handler or interceptor is running.

    Raises:
        LookupError: no handler is running here.
    """

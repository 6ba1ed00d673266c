from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Self, TypeVar, final

from fastrpc._core.calls.call import Call, Draining
from fastrpc._core.link.contract import ContractGroups
from fastrpc._core.payload.arguments import BoundArguments
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.rpc.identity import Identity

_Kind = TypeVar("_Kind", bound=ServerCall)

class ServerCall(Call):
    """A call being served, which `current_call()` returns."""

    @property
    def identity(self) -> Identity | None:
        """The caller's proven identity; None for an unauthenticated caller."""

    @identity.setter
    def identity(self, identity: Identity | None) -> None: ...
    #: Whether the answer says that no handler saw the call; set by the code that refuses it.
    never_started: bool

    @property
    def connection(self) -> ServedConnection:
        """The connection that it arrived on, or None."""

    @property
    def groups(self) -> ContractGroups:
        """The protocol's part in the call."""

    @property
    def has_trailers(self) -> bool:
        """Whether its answer has a head and trailers, which may repeat a key."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller cancelled the call or its deadline passed. May be read from any thread."""

    @property
    def draining(self) -> Draining:
        """Awaitable that is done once the server drains or the connection closes."""

    def http(
        self,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        compress: bool | None = None,
    ) -> None:
        """Set the status and header fields of the HTTP answer, as documented at `Call.http`."""

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait in an interceptor."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The decoded arguments that the handler gets."""

    @property
    def given(self) -> tuple[Any, ...] | bytes | BoundArguments:
        """The arguments of the handler; None once the call ended."""

    @property
    def is_expired(self) -> bool:
        """Whether its deadline passed while the handler ran."""

    @property
    def wants_head(self) -> bool:
        """Whether the caller wants only the head of a stream: no handler starts."""

    @property
    def pushback_ms(self) -> int:
        """While it is refused: milliseconds after which its caller may retry; 0: not stated."""

    @property
    def age_seconds(self) -> float:
        """The seconds since the request arrived."""

    @property
    def codec_id(self) -> int:
        """The number of the codec of the request and of the answer."""

    def wrap_sent(self, function: Callable[[Any], Any]) -> None:
        """In an interceptor, make a function replace each sent message. The first function gets the yielded message."""

    def wrap_received(self, function: Callable[[Any], Any]) -> None:
        """In an interceptor, make a function replace each message that the handler receives."""

    async def send_metadata(self) -> None:
        """Send the contents of `reply_metadata` now, ahead of the first message of the answering stream.

        By gRPC also ahead of a unary answer.

        Raises:
            RuntimeError: the answer is not a stream, or the first metadata was sent already.
        """

    def _compress_by(self, name: str | None) -> None:
        """Compress the answer with the named compressor if the peer accepts it; None = do not compress it."""

    def _ensure_head(self) -> None:
        """Send the head of a unary answer unless it was sent. Later `reply_metadata` become the trailers."""

    @property
    def messages(self) -> Any:
        """The stream of the call; None for a unary call and after the end."""

    def _has_lapsed(self) -> bool:
        """Return whether the call's credential has expired since its admission. May be called from any thread."""

    #: The job of its handler's part that runs in a thread or waits for one.
    _thread_job: Any

    def _is_stopped(self) -> bool:
        """Return whether the handler was stopped from outside, so that a CancelledError is not the handler's own."""

def detached_call(
    kind: type[_Kind],
    metadata: Mapping[str, str | bytes] | None,
    identity: Identity | None,
    timeout: float | None,
) -> _Kind:
    """Make a call without a connection, for handlers that are called directly in a test; `kind` describes it."""

@final
class CallLine:
    """Calls in the order of their arrival."""

    def __new__(cls, line: int) -> Self: ...
    @property
    def count(self) -> int: ...

@final
class WaitingCalls:
    """Calls that wait for their start, in the order in which they start: by priority, then by arrival."""

    def __new__(cls, line: int) -> Self: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[ServerCall]: ...
    @property
    def high(self) -> CallLine: ...
    @property
    def normal(self) -> CallLine: ...
    @property
    def sheddable(self) -> CallLine: ...
    @property
    def sheddable_bytes(self) -> int: ...
    @property
    def sheddable_records(self) -> int: ...

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Coroutine, Mapping
from logging import Logger
from typing import Any, TypeVar, final

from fastrpc._core.calls.call import RouteTable
from fastrpc._core.framing.settings import WireNumbers
from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc._core.payload.marshal import BoundArguments
from fastrpc._core.serving.admission import Admission, AdmittedCall
from fastrpc._core.serving.server_session import ServerSession
from fastrpc.rpc.peer import Identity
from fastrpc.status import Status

_Kind = TypeVar("_Kind", bound=ServerCall)

logger: Logger

@final
class ServerState(Admission):
    """What all connections of one server share, on one loop.

    Args:
        dispatcher: the server's Python part, asked for everything that does not happen in every call.
        numbers: the codecs and compressors that requests may use.
        call_timeout: seconds for calls that name no timeout of their own.
        bounds: those of `Admission`.
    """

    compress_above: int
    has_interceptors: bool
    #: Whether results are checked against their annotations before they are sent.
    checks_results: bool
    #: Whether `dispatcher.changed` is to be called as each call ends.
    is_watched: bool

    def __init__(
        self,
        *,
        loop: AbstractEventLoop,
        dispatcher: Any,
        numbers: WireNumbers,
        call_timeout: float | None,
        **bounds: Any,
    ) -> None: ...
    @property
    def routes(self) -> RouteTable: ...
    @property
    def dispatcher(self) -> Any: ...
    @property
    def numbers(self) -> WireNumbers: ...
    @property
    def running(self) -> int:
        """Calls started and not ended."""

    @property
    def expired_unstarted(self) -> int:
        """Calls that were not started because their time was over."""

    def totals(self) -> dict[str, int]:
        """Return what was refused since the server started."""

class ServerTask(HandlerTask):
    """The task a handler runs in: what `asyncio.current_task()` gives there."""

class ServerCall(AdmittedCall):
    """A call being served: what `current_call()` returns."""

    @property
    def identity(self) -> Identity | None:
        """Who the caller proved to be; None where nobody asked."""

    @identity.setter
    def identity(self, identity: Identity | None) -> None: ...
    #: Whether to tell the caller that no handler saw the call; the one who refuses it sets this.
    never_started: bool

    @property
    def session(self) -> ServerSession: ...
    @property
    def cancelled(self) -> bool:
        """Whether the caller gave it up or its time ran out; may be read from any thread."""

    @property
    def draining(self) -> Awaitable[Any]:
        """Done once the server drains or the connection is being given up."""

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait, in an interceptor."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The decoded arguments, as the handler gets them."""

    @property
    def status(self) -> Status | None:
        """What became of it; set before an interceptor's `proceed` returns."""

    @property
    def error(self) -> BaseException | None:
        """What the handler raised, or None."""

    @property
    def given(self) -> tuple[Any, ...] | bytes | BoundArguments:
        """How to call the handler; None once the call ended."""

    @property
    def is_expired(self) -> bool:
        """Whether its deadline passed while the handler ran."""

    @property
    def codec_id(self) -> int:
        """The codec of the request and of the answer, by its number on the wire."""

    def _note_outcome(self, status: Status | None, error: BaseException | None) -> None:
        """Keep what became of the call for the interceptors around it."""

def detached_call(
    kind: type[_Kind],
    metadata: Mapping[str, str | bytes] | None,
    identity: Identity | None,
    timeout: float | None,
) -> _Kind:
    """Make a call without a connection, for handlers that are called directly in a test; `kind` says more of it."""

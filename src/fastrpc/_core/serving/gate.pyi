from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from logging import Logger
from typing import Any, final

from fastrpc._core.calls.call import RouteTable
from fastrpc._core.framing.settings import WireNumbers
from fastrpc._core.serving.admission import Admission
from fastrpc._core.serving.exchange import Exchange
from fastrpc._core.serving.handler_runner import HandlerRunner
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.compressors.base import Compressor
from fastrpc.status import Status

logger: Logger

_Guard = Callable[[ServerCall], tuple[Status, str] | None] | None

@final
class Gate(Admission):
    """What all connections of one server share, on one loop: its methods, and the way of a call to its handler.

    Args:
        dispatcher: the server's Python part, asked for everything that does not happen in every call.
        numbers: the codecs and compressors that requests may use.
        call_timeout: seconds for calls that name no timeout of their own.
        bounds: those of `Admission`.
    """

    #: Functions of a call that return None, or a status and a text to refuse it with; None: nobody is asked. They are
    #: asked in this order, once the method is known and before anything is decoded.
    authenticate: _Guard
    authorise: _Guard
    limit: _Guard

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
    def runner(self) -> HandlerRunner: ...
    @property
    def dispatcher(self) -> Any: ...
    @property
    def codecs(self) -> dict[int, str]: ...
    @property
    def compressors(self) -> dict[int, Compressor]: ...
    @property
    def running(self) -> int:
        """Calls started and not ended."""

    @property
    def expired_unstarted(self) -> int:
        """Calls that were not started because their deadline had passed."""

    def totals(self) -> dict[str, int]:
        """Return what was refused since the server started."""

    def begin(
        self,
        exchange: Exchange,
        *,
        method: str,
        payload: bytes,
        codec: str,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        one_way: bool = False,
    ) -> ServerCall:
        """Serve a call that is whole; return it, for `cancel_call`. It may be answered before this returns.

        Calls of an exchange are numbered from 1 on: `call.id`.

        Args:
            method: full name, `service.method`.
            payload: the arguments, encoded in `codec`.
            timeout: seconds that the caller waits; None: the server's default, infinite: without end.
            one_way: whether nobody waits for the answer.

        Raises:
            ValueError: the server takes no such codec, or the timeout is below 0.
        """

    def cancel_call(self, call: ServerCall, *, is_late: bool = False) -> None:
        """Stop a call that its caller gave up; late: because its deadline passed. It is still answered."""

    def end_calls(self, exchange: Exchange, text: str) -> None:
        """Answer every call that is still under way, and stop its handler: UNAVAILABLE, for this reason."""

    def weigh_output(self, exchange: Exchange, size: int) -> None:
        """Say how many bytes of output the peer has not taken; above `Memory.send_soft` nothing more starts."""

    def connection_lost(self, exchange: Exchange) -> None:
        """Stop what goes on for a peer that is gone: nobody waits for its answers."""

    def unpacked(self, call: ServerCall, payload: bytes, error: Exception | None) -> None:
        """Go on with a compressed request that is whole again, or cannot be; ValueError if `call` is none of those."""

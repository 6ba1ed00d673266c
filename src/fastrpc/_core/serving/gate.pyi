from asyncio import AbstractEventLoop
from collections.abc import Mapping
from logging import Logger
from typing import Any, final

from fastrpc._core.calls.call import RouteTable
from fastrpc._core.framing.settings import WireNumbers
from fastrpc._core.serving.access import Access
from fastrpc._core.serving.admission import Admission
from fastrpc._core.serving.call_limits import CallLimits
from fastrpc._core.serving.exchange import Exchange
from fastrpc._core.serving.handler_runner import HandlerRunner
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.compressors.base import Compressor
from fastrpc.protocols.base import ServerEngine
from fastrpc.rpc.identity import Identity

logger: Logger

@final
class Gate(Admission):
    """The gate that all connections of one server share, on one loop: its methods, and the steps before a handler.

    Args:
        dispatcher: the server's Python part, for everything off the hot path.
        numbers: the codecs and compressors that requests may use.
        call_timeout: seconds for calls that name no timeout of their own.
        bounds: the bounds of `Admission`.
    """

    #: Who may call what; None: whoever is connected may call everything.
    access: Access | None

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
    def limits(self) -> CallLimits | None:
        """How much callers may ask for."""

    def limit(self, limits: CallLimits | None) -> None:
        """Hold the calls of every connection to limits, after the callers' rights are checked; None lifts them."""

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
        """Return the counts of refusals since the server started."""

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
        """Serve a complete call; return it, for `cancel_call`. It may be answered before this returns.

        Calls of an exchange are numbered from 1: `call.id`. A call over a limit of its connection is refused; a call of
        a lost connection ends without a word.

        Args:
            method: the full name, `service.method`.
            payload: the arguments, encoded in `codec`.
            timeout: seconds that the caller waits; None for the server's default, infinity for no limit.
            one_way: whether the caller expects no answer.

        Raises:
            ValueError: the server does not accept the codec, or the timeout is negative.
        """

    def cancel_call(self, call: ServerCall, *, is_late: bool = False) -> None:
        """Stop a call that its caller cancelled; `late`: because its deadline passed. It is still answered."""

    def end_calls(self, exchange: Exchange, text: str) -> None:
        """Answer every call in flight with UNAVAILABLE and this reason, and stop its handler."""

    def weigh_output(self, exchange: Exchange, size: int) -> None:
        """Report the bytes of output that the peer has not taken; above `Memory.send_soft` no call starts."""

    def connection_lost(self, exchange: Exchange) -> None:
        """Stop the calls of a lost peer, which needs no answers any more."""

    def session_lost(self, session: ServerEngine, error: BaseException | None) -> None:
        """Stop the calls of a lost connection, and count it no more; an error ended it, or None."""

    def note_late(self, call: ServerCall) -> None:
        """Answer a call whose deadline passed while its own credential is verified."""

    def conclude_access(
        self,
        call: ServerCall,
        method: str,
        names: int,
        payload: bytes,
        identity: Identity | None,
        status: int,
        seconds: float | None,
    ) -> None:
        """Go on with a call whose own credential was verified."""

    def unpacked(self, call: ServerCall, payload: bytes, error: Exception | str | None) -> None:
        """Continue with a decompressed request, counted as it grew; refuse it for an error, or as a text says.

        Raises:
            ValueError: `call` does not wait for its arguments.
        """

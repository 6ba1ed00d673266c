from asyncio import AbstractEventLoop
from collections.abc import Container, Mapping
from logging import Logger
from typing import Any, final

from fastrpc import config
from fastrpc._core.calls.call import MethodRoute, RouteTable
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.server.admission import CallAdmission, LaterSteps
from fastrpc._core.server.guards import Guards
from fastrpc._core.server.handler_runner import HandlerRunner
from fastrpc._core.server.memory_budget import MemoryBudget
from fastrpc._core.server.refused_calls import CallCounters, RefusedCalls
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc._core.server.start_turns import StartTurns
from fastrpc._core.wire.settings import WireNumbers
from fastrpc.compressors.base import Compressor
from fastrpc.protocols.base import ServerEngine

logger: Logger

@final
class Gate(LaterSteps):
    """The gate that all connections of one server share, on one loop: its methods, and the steps before a handler.

    Args:
        dispatcher: the server's Python part, for everything off the hot path.
        numbers: the codecs and compressors that requests may use.
        call_timeout: seconds for calls that name no timeout.
    """

    def __init__(
        self,
        *,
        loop: AbstractEventLoop,
        dispatcher: Any,
        numbers: WireNumbers,
        call_timeout: float | None,
        limits: config.Limits,
        memory: config.Memory,
        admission: config.Admission,
    ) -> None: ...
    @property
    def loop_state(self) -> LoopState: ...
    @property
    def engines(self) -> set[ServerEngine]:
        """The live connections."""

    @property
    def connections(self) -> int:
        """The most connections (`Limits.connections`)."""

    @property
    def refused_connections(self) -> int:
        """Connections refused above the limit."""

    @property
    def memory(self) -> MemoryBudget:
        """The bytes that the connections hold."""

    @property
    def counters(self) -> CallCounters:
        """The counters of calls, started or not."""

    @property
    def refusals(self) -> RefusedCalls:
        """The calls that do not start."""

    @property
    def admission(self) -> CallAdmission:
        """The budgets, and the calls that wait for their start."""

    @property
    def turns(self) -> StartTurns:
        """The turns in which waiting calls start."""

    @property
    def guards(self) -> Guards:
        """The rights of callers, and their limits."""

    @property
    def runner(self) -> HandlerRunner: ...
    @property
    def dispatcher(self) -> Any: ...
    @property
    def routes(self) -> RouteTable: ...
    @property
    def codecs(self) -> dict[int, str]: ...
    @property
    def compressors(self) -> dict[int, Compressor]: ...
    @property
    def running(self) -> int:
        """The number of calls that have started and not ended."""

    def totals(self) -> dict[str, int]:
        """Return the counts of refusals since the server started."""

    def begin(
        self,
        connection: ServedConnection,
        *,
        method: str,
        payload: bytes,
        codec: str,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        one_way: bool = False,
    ) -> ServerCall:
        """Serve a complete call; return it, for `cancel_call`. It may be answered before this returns.

        Calls of a connection are numbered from 1: `call.id`. A call over a limit of its connection is refused;
        a call of a lost connection ends without an answer.

        Args:
            method: the full name, `service.method`.
            payload: the arguments, encoded in `codec`.
            timeout: seconds that the caller waits; None for the server's default, infinity for no limit.
            one_way: whether the caller expects no answer.

        Raises:
            ValueError: the server does not accept the codec, or the timeout is negative.
        """

    def delivery(
        self,
        connection: ServedConnection,
        route: MethodRoute,
        metadata: bytes | None = None,
    ) -> ServerCall:
        """Return the call of a broker's message, for `deliver`. Its route has no method name.

        Args:
            metadata: as `encode_metadata` returns it; messages of a topic often have the same.
        """

    def deliver(self, call: ServerCall, payload: bytes) -> None:
        """Serve a message, without the steps about callers. It may be answered before this returns.

        Raises:
            ValueError: the connection of the call does not deliver.
        """

    def cancel_call(self, call: ServerCall, *, is_late: bool = False) -> None:
        """Stop a call that its caller cancelled; `is_late`: because its deadline passed. It is still answered."""

    def end_calls(
        self, connection: ServedConnection, text: str, calls: Container[ServerCall] | None = None
    ) -> None:
        """Answer every call in flight, or only `calls`, with UNAVAILABLE and this reason, and stop their handlers."""

    def weigh_output(self, connection: ServedConnection, size: int) -> None:
        """Report the bytes of output that the peer has not accepted; above `Memory.send_soft` no call starts."""

    def connection_lost(self, connection: ServedConnection) -> None:
        """Stop the calls of a lost connection, without answers."""

    def engine_lost(self, engine: ServerEngine, error: BaseException | None) -> None:
        """Stop the calls of a lost connection and uncount it. `error` is the error that ended it, or None."""

    def unpacked(self, call: ServerCall, payload: bytes, error: Exception | str | None) -> None:
        """Continue with a decompressed request, whose memory is counted already; refuse it if there is an error.

        Raises:
            ValueError: `call` does not wait for its arguments.
        """

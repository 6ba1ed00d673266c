from asyncio import AbstractEventLoop
from logging import Logger
from typing import Any

from fastrpc import config
from fastrpc._core.base.histogram import MethodCounters
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.server.memory_budget import MemoryBudget
from fastrpc._core.server.served_call import WaitingCalls
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.protocols.base import ServerEngine

logger: Logger

class CallAdmission:
    """The bounds of one server, over all of its connections: waiting calls, bytes held."""

    #: Nanoseconds that a stream may wait for its peer; 0: no limit.
    stream_idle_ns: int
    #: Notified of calls that do not start; None in most servers.
    watch: Any

    def __init__(
        self,
        *,
        loop: AbstractEventLoop,
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
    def waiting(self) -> int:
        """Calls that wait for their start."""

    @property
    def prioritised(self) -> WaitingCalls:
        """The waiting calls of another priority than 0."""

    @property
    def refused(self) -> int:
        """Calls that were not started."""

    @property
    def memory(self) -> MemoryBudget:
        """The bytes that the connections hold."""

    def counters_by_method(self, protocol: str) -> dict[str, MethodCounters] | None:
        """Return the counters of a protocol's calls; None for the native one, whose routes hold them."""

    def look_at(self, connection: ServedConnection) -> None:
        """Refuse calls that waited too long on a connection whose engine does not check this."""

from asyncio import AbstractEventLoop, BaseTransport, Event
from logging import Logger
from typing import Any
from weakref import WeakSet

from fastrpc import config
from fastrpc._core.calls.call import Call
from fastrpc._core.io.session import Session
from fastrpc._core.loop.loop_state import LoopState

logger: Logger
servers: WeakSet[Admission]

def bytes_held() -> int:
    """Count the bytes that all connections of this process hold."""

class AdmittedCall(Call):
    """A call of theirs, as far as admission knows it."""

class Admission:
    """The bounds of one server, over all of its connections: connections that open, calls that wait, bytes held."""

    #: Nanoseconds for which credit is held back before the largest holder is closed; tests shorten them.
    full_wait_ns: int

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
    def sessions(self) -> set[Any]:
        """The live connections."""

    @property
    def waiting(self) -> int:
        """Calls that wait for their start."""

    @property
    def opening(self) -> int:
        """Connections that are in their opening."""

    @property
    def refused(self) -> int:
        """Calls that were not started."""

    @property
    def refused_connections(self) -> int:
        """Connections that were one too many."""

    @property
    def is_full(self) -> bool:
        """Whether `Memory.process_bytes` is used up, so that no connection credit is returned for now."""

class GuardedSession(Session):
    """A connection of a server, as far as admission goes.

    Args:
        options: those of `Session`.
    """

    def __init__(self, *, admission: Admission, timeouts: config.Timeouts, **options: Any) -> None: ...
    @property
    def admission(self) -> Admission: ...
    @property
    def holding(self) -> int:
        """Why requests do not start at once: 1 behind a stall, 2 output waits, 4 their memory is nearly used up."""

    @property
    def request_held(self) -> int:
        """Bytes of requests being received, waiting or handled."""

    def held_bytes(self) -> int:
        """Count the bytes this connection holds: requests, records of calls, output, reads that wait for a turn."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Count the connection; its opening has to follow in time."""

    def drain_event(self) -> Event:
        """Return the event that is set when this connection is to end."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls; a connection that is only opening is told as soon as it can be.

        Endless handlers learn of it through `current_call().draining`.
        """

    @property
    def has_drained(self) -> bool:
        """Whether the peer knows that nothing new is taken, and the transport has all our bytes."""

    def resume_writing(self) -> None: ...
    def end_calls(self, text: str) -> int:
        """Answer every call that is still under way: UNAVAILABLE, for this reason."""

from asyncio import AbstractEventLoop, Future
from logging import Logger
from typing import final
from weakref import WeakSet

from fastrpc import config
from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.protocols.base import ServerEngine

logger: Logger
budgets: WeakSet[MemoryBudget]

def bytes_held() -> int:
    """Return the bytes that all connections of this process hold."""

@final
class MemoryBudget(Timed):
    """The memory that the connections of one server hold."""

    #: Nanoseconds for which credit is held back before the largest holder is closed; tests shorten them.
    full_wait_ns: int

    def __init__(
        self,
        loop: AbstractEventLoop,
        engines: set[ServerEngine],
        limits: config.Limits,
        memory: config.Memory,
    ) -> None: ...
    @property
    def loop_state(self) -> LoopState: ...
    @property
    def engines(self) -> set[ServerEngine]:
        """The live connections."""

    def count_answer(self, connection: ServedConnection, change: int) -> None:
        """Add `change`, which may be negative, to the bytes of answers that are not in the output yet."""

    @property
    def is_full(self) -> bool:
        """Whether `Memory.process_bytes` is used up, so that no connection credit is returned for now."""

    @property
    def unpacking_bytes(self) -> int:
        """The bytes that all decompressions of the process may take."""

@final
class HeldPieces:
    """Pieces that our handler reads before its stream sends them, counted for connection and process.

    Args:
        call: the call of that handler; None if it was called as a plain function: nothing is counted.
    """

    def __init__(self, call: ServerCall | None) -> None: ...
    @property
    def call(self) -> ServerCall | None: ...
    @property
    def held(self) -> int:
        """The bytes that are counted."""

    def begin(self, size: int) -> None:
        """Count the first piece, before it is read.

        Raises:
            CallError: with RESOURCE_EXHAUSTED, if the process holds too many bytes for new calls.
        """

    def hold(self, size: int) -> None:
        """Set the counted bytes of the pieces to `size`."""

    def may_hold(self, size: int) -> bool:
        """Return whether there is memory for pieces of `size` bytes. There always is for a single piece."""

    @property
    def may_read_ahead(self) -> bool:
        """Whether a piece may be read while the previous one is sent: the peer gives credit, and there is memory."""

    def room(self) -> Future[None] | None:
        """Return a future that completes when the stream can send; None if it can now, or without a stream."""

@final
class Room:
    """The memory of one payload during decompression; a stream message keeps it until its handler asks for the next.

    Args:
        packed: the size of the received payload, which is counted already.
        stated: the size that the payload states.
        is_message: whether it is a message of a stream, not a request.
    """

    def __init__(
        self, connection: ServedConnection, packed: int, stated: int, *, is_message: bool = False
    ) -> None: ...
    @property
    def connection(self) -> ServedConnection: ...
    @property
    def stated(self) -> int:
        """The size that the payload states."""

    def take(self) -> int:
        """Reserve the stated size. Return 0, or 1 if it exceeds the limit of the connection, 2 of the process."""

    def lack_text(self, lack: int) -> str:
        """Return the error text for a result of `take` that is not 0."""

    def grow(self, size: int) -> str | None:
        """Count an output that has `size` bytes by now; return why there is no memory for it, or None."""

    def finish(self, size: int) -> str | None:
        """Note that the output is complete; return why memory is full, or None.

        Only a stream message keeps its room, reduced to its size.
        """

    def close(self) -> None:
        """Return all reserved and counted bytes."""

from asyncio import AbstractEventLoop, BaseTransport, Transport
from collections.abc import Callable
from logging import Logger
from typing import Any

from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.native.connection import Connection
from fastrpc._core.native.liveness import Liveness
from fastrpc.config import Keepalive, Timeouts

logger: Logger

class Session(Connection):
    """A connection on an event loop, made by a transport's session factory and driven by its callbacks.

    An `asyncio.BufferedProtocol`: the transport receives straight into the loop's shared buffer, or into the
    final memory of a long payload.

    Args:
        spin_microseconds: for how long after bytes came or went the loop polls instead of sleeping.
        uniform: a source of random numbers between two bounds, for the age at which the connection ends.
        options: those of `Connection`.
    """

    def __init__(
        self,
        *,
        loop: AbstractEventLoop,
        timeouts: Timeouts,
        keepalive: Keepalive,
        spin_microseconds: int = 0,
        uniform: Callable[[float, float], float] = ...,
        **options: Any,
    ) -> None: ...
    @property
    def transport(self) -> Transport | None:
        """The stream below; None before it is connected and after it is lost."""

    @property
    def loop_state(self) -> LoopState: ...
    @property
    def peer_name(self) -> Any:
        """What the transport calls the other side."""

    @property
    def descriptor(self) -> int:
        """The socket to which small output goes directly; -1 where all of it goes through the transport."""

    @property
    def liveness(self) -> Liveness:
        """The rules by which it lives and ends."""

    @property
    def is_write_paused(self) -> bool: ...
    @property
    def is_usable(self) -> bool:
        """Whether calls of ours may go out on it: connected, and the peer takes new ones."""

    #: Whether somebody is to be told when the next call of ours goes out on it.
    announces_calls: bool

    @property
    def is_open(self) -> bool:
        """Whether both sides know each other's settings, and neither ended the connection."""

    @property
    def is_put_off(self) -> bool:
        """Whether something received waits for its turn, with reading paused."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin: a client sends its opening, a server waits for it."""

    def get_buffer(self, hint: int) -> memoryview:
        """Say where the transport is to receive."""

    def buffer_updated(self, size: int) -> None:
        """Take `size` bytes that were received into the last buffer."""

    def eof_received(self) -> bool:
        """Learn that the peer writes no more; the transport closes."""

    def connection_lost(self, error: Exception | None) -> None:
        """Learn that the stream is gone."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def buffered_bytes(self) -> int:
        """Count the bytes of ours that the peer has not taken: here and in the transport."""

    def note_probe(self) -> None:
        """Take note that a call only asked for our health: it does not count as use of the connection."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls: GOAWAY now, and the last call once the peer knows."""

    @property
    def has_drained(self) -> bool:
        """Whether the peer knows that nothing new is taken, and the transport has all our bytes."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Say why, flush, and close as soon as the peer has read it."""

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""

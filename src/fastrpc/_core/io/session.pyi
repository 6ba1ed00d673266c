from asyncio import AbstractEventLoop, BaseTransport, Transport
from logging import Logger
from typing import Any

from fastrpc._core.io.engine import ByteStream, Engine
from fastrpc._core.loop.loop_state import LoopState

logger: Logger

class Session(ByteStream):
    """The byte stream of one connection on an event loop, made by a transport's factory and driven by its callbacks.

    An `asyncio.BufferedProtocol`: the transport receives straight into the loop's shared buffer, or into the
    final memory of a long payload.

    Args:
        engine: the protocol; the session holds it.
        spin_microseconds: for how long after bytes came or went the loop polls instead of sleeping.
    """

    def __init__(self, engine: Engine, *, loop: AbstractEventLoop, spin_microseconds: int = 0) -> None: ...
    @property
    def engine(self) -> Engine:
        """The protocol of the connection."""

    @property
    def transport(self) -> Transport | None:
        """The transport below; None before it is connected and after it is lost."""

    @property
    def loop_state(self) -> LoopState: ...
    @property
    def peer_name(self) -> Any:
        """The name that the transport has for the other side."""

    @property
    def descriptor(self) -> int:
        """The socket to which small output goes directly; -1 where all of it goes through the transport."""

    @property
    def is_write_paused(self) -> bool: ...
    @property
    def is_put_off(self) -> bool:
        """Whether something received waits for its turn, with reading paused."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin: the engine says what."""

    def get_buffer(self, hint: int) -> memoryview:
        """Say where the transport is to receive."""

    def buffer_updated(self, size: int) -> None:
        """Take `size` bytes that were received into the last buffer."""

    def heard_below(self) -> None:
        """Learn that TLS below got bytes of its handshake."""

    def eof_received(self) -> bool:
        """Learn that the peer writes no more; the transport closes."""

    def connection_lost(self, error: Exception | None) -> None:
        """Learn that the stream is gone."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

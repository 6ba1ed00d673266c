from asyncio import AbstractEventLoop, BaseTransport
from logging import Logger
from typing import Any

from fastrpc._core.io.engine import Engine
from fastrpc._core.io.session_output import SessionOutput

logger: Logger

class Session(SessionOutput):
    """The byte stream of one connection on an event loop, made by a transport's factory and driven by its callbacks.

    An `asyncio.BufferedProtocol`: the transport receives straight into the loop's shared buffer, or into the
    final memory of a long payload.

    Args:
        engine: the protocol; the session holds it.
        spin_microseconds: for how long after bytes came or went the loop polls instead of sleeping.
    """

    def __init__(self, engine: Engine, *, loop: AbstractEventLoop, spin_microseconds: int = 0) -> None: ...
    @property
    def peer_name(self) -> Any:
        """The name that the transport has for the other side."""

    @property
    def is_put_off(self) -> bool:
        """Whether something received waits for its turn, with reading paused."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin: the engine decides what to send or to wait for."""

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

    def end_at_once(self) -> None:
        """Abort the transport; its unsent bytes are lost."""

    def end_written(self) -> None:
        """Close the transport once it has sent its output."""

from asyncio import BaseTransport
from logging import Logger
from typing import Any

from fastrpc._core.base.timed import Timed

logger: Logger

class ByteStream(Timed):
    """The input and output of one connection, as its engine sees it."""

class Engine:
    """The protocol of one connection, without input and output."""

    #: The time, nanoseconds of a monotonic clock; whoever drives the engine sets it before each use.
    now: int
    #: When the last bytes came, nanoseconds.
    received_ns: int

    @property
    def is_closed(self) -> bool: ...
    @property
    def stream(self) -> Any:
        """The stream below, or None."""

    @property
    def transport(self) -> BaseTransport | None:
        """The transport of the stream; None before it is connected and once it is lost."""

    @property
    def peer_name(self) -> Any:
        """What the transport calls the other side, or None."""

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""

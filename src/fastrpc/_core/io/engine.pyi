from asyncio import BaseTransport
from logging import Logger
from typing import Any, Literal

from fastrpc._core.base.timer_wheel import Timed

logger: Logger

class ByteStream(Timed):
    """The input and output of one connection, as its engine sees it."""

class Engine:
    """The protocol of one connection, without input and output."""

    #: The time, nanoseconds of a monotonic clock; the driver of the engine sets it before each use.
    now: int
    #: When the last bytes came, nanoseconds.
    received_ns: int

    @property
    def is_closed(self) -> bool: ...
    @property
    def is_usable(self) -> bool:
        """Whether calls of ours may go out: it is connected, and the peer takes new ones."""

    @property
    def calling(self) -> Any:
        """The `CallingPart` that makes calls of ours, or None."""

    @property
    def stream(self) -> Any:
        """The stream below, or None."""

    @property
    def transport(self) -> BaseTransport | None:
        """The transport of the stream; None before it is connected and once it is lost."""

    @property
    def peer_name(self) -> Any:
        """The name that the transport has for the other side, or None."""

    @property
    def peer_takes(self) -> Literal["calls", "pushes"] | None:
        """Whether the other side serves this one: "calls"; "pushes", which it does not answer; None for neither."""

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""

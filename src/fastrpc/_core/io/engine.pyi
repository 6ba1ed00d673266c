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
        """The address of the peer as the transport reports it, or None."""

    @property
    def peer_takes(self) -> Literal["calls", "pushes"] | None:
        """Whether the other side serves this one: "calls"; "pushes", which it does not answer; None for neither."""

    def abort(self) -> None:
        """Close immediately; unsent bytes are lost."""

class PythonEngine(Engine):
    """An engine whose protocol is written in Python: subclasses implement what they need of the first five methods."""

    #: Whether the connection outlasts the end of the peer's input. Otherwise a peer that leaves while it is held back
    #: is still noticed, and its unread input is dropped.
    outlasts_input: bool

    def connection_made(self) -> None:
        """Begin: the stream is connected."""

    def receive_data(self, data: bytes) -> int:
        """Handle received bytes; return how many were consumed.

        The rest is presented again with the next bytes, so an incomplete message needs no buffer. At most 393,216 bytes
        are received at once: a rest of that length closes the connection. The rest is copied each time, so a protocol
        with long messages takes them over in parts.
        """

    def check_at(self, now: int) -> int:
        """Compare the engine's instants with now, in nanoseconds; return the next one, 0 = none."""

    def eof_received(self) -> None:
        """Learn that the peer sends no more; the stream closes."""

    def connection_lost(self, error: BaseException | None) -> None:
        """Learn that the stream is gone."""

    def send(self, data: bytes) -> None:
        """Send bytes: at the end of the read that is handled now, else in the next turn of the loop."""

    def turn_is_over(self) -> bool:
        """Note that one message was handled. Return whether the rest has to wait: `receive_data` leaves it."""

    def schedule_check(self, due_ns: int) -> None:
        """Have `check_at` called at an instant, or before."""

    def hold_back(self, is_held_back: bool) -> None:
        """Read no further until this is called with False. Bytes that were received already still come."""

    def unsent_bytes(self) -> int:
        """Return how many bytes of output the peer has not received."""

    def taken_bytes(self) -> int:
        """Return how many bytes of output have left this machine, as far as known."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close once all output is sent. A protocol that can state a reason sends it first."""

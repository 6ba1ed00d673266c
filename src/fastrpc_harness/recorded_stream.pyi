import asyncio
from collections.abc import Callable
from typing import Any, final

from fastrpc._core.streams.stream_channel import StreamChannel
from fastrpc_harness.recording import RecordedCall, RecordingConnection

@final
class RecordedStream(StreamChannel):
    """The stream of a call of a `RecordingConnection`; its messages are their payloads."""

    #: Whether the output of the connection counts as full.
    has_full_output: bool
    #: Decodes a payload; None returns it as it is.
    decoder: Callable[[bytes], Any] | None
    #: Called when a wait took too long.
    idle_callback: Callable[[], object] | None

    def __init__(
        self,
        connection: RecordingConnection,
        call: RecordedCall,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        idle_ns: int = 0,
    ) -> None: ...
    @property
    def idle_waits(self) -> int:
        """How often a wait took longer than it may."""

    @property
    def would_wait(self) -> bool:
        """Whether a sender has to wait."""

    @property
    def is_held_by_call(self) -> bool:
        """Whether the call knows the stream."""

    @property
    def credit(self) -> tuple[int, int, int, int]:
        """Bytes: may be sent, may be received, received but not yet credited, granted beyond the window."""

    @property
    def window_bytes(self) -> int:
        """The size of its window."""

    @property
    def waiting_cost(self) -> int:
        """Bytes of the window that waiting messages use."""

    @property
    def has_unsent(self) -> bool:
        """Whether a message waits to be sent."""

    def fire(self) -> None:
        """Let its timer fire."""

    def send_message(self, payload: bytes) -> None:
        """Send one message."""

    def wait_for_room(self) -> asyncio.Future[None]:
        """Return the future of a waiting sender."""

    def wait_now(self) -> None:
        """Note that the reader waits."""

    def take_now(self) -> Any:
        """Take the oldest message."""

    def finish_input(self, error: BaseException | None = None) -> None:
        """Note that no further message will arrive."""

    def finish_output(self, error: BaseException | None = None) -> None:
        """Note that nothing more can be sent."""

    def wrap(
        self,
        sent: list[Callable[[Any], Any]] | None = None,
        received: list[Callable[[Any], Any]] | None = None,
    ) -> None:
        """Set functions that convert sent and received messages."""

    def wrapped(self, message: Any) -> Any:
        """Return the form in which a message is sent."""

    def end(self, error: BaseException | None = None) -> None:
        """End both directions."""

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
        """Bytes that it may send, may receive, owes of those, and granted beyond its window."""

    @property
    def window_bytes(self) -> int:
        """The size of its window."""

    @property
    def waiting_cost(self) -> int:
        """Bytes that waiting messages have taken from the window."""

    @property
    def has_unsent(self) -> bool:
        """Whether a message of ours waits."""

    def fire(self) -> None:
        """Let its timer fire."""

    def send_message(self, payload: bytes) -> None:
        """Send one message."""

    def wait_for_room(self) -> asyncio.Future[None]:
        """Return the future of a sender that waits."""

    def wait_now(self) -> None:
        """Say that the reader waits."""

    def take_now(self) -> Any:
        """Take the oldest message."""

    def finish_input(self, error: BaseException | None = None) -> None:
        """Say that no further message comes."""

    def finish_output(self, error: BaseException | None = None) -> None:
        """Say that nothing more can be sent."""

    def wrap(
        self,
        sent: list[Callable[[Any], Any]] | None = None,
        received: list[Callable[[Any], Any]] | None = None,
    ) -> None:
        """Put functions around messages."""

    def wrapped(self, message: Any) -> Any:
        """Return what is sent for a message."""

    def end(self, error: BaseException | None = None) -> None:
        """End both directions."""

from collections.abc import Callable, Iterable
from typing import Any

from fastrpc._core.http2.hpack import HeaderTemplate
from fastrpc._core.http2.stream_handler import StreamHandler

class RecordingHttp2(StreamHandler):
    """A side of a connection of HTTP/2 that keeps the arguments of its hooks, and is given orders by stream ids."""

    events: list[Any]
    reaction: Callable[[Any], None] | None
    takes_directly: bool
    now: int
    """The instant of what comes next, in nanoseconds."""
    received_ns: int
    """The instant of the last bytes."""

    def __init__(
        self,
        *,
        is_client: bool,
        streams: int = 100,
        window_bytes: int = 65_535,
        header_list_bytes: int = 8_192,
    ) -> None: ...
    def open_now(self, is_wide: bool = False) -> None:
        """Send the preface of a client, and SETTINGS."""

    def feed(self, data: bytes) -> None:
        """Receive bytes."""

    def feed_body(self, data: bytes) -> int:
        """Receive bytes as a socket that writes into the memory of a long message; return how many were consumed."""

    def expect_message(self, id: int, size: int) -> None:
        """Receive the next bytes of a stream as one message."""

    def take_all(self) -> bytes:
        """Return the output that may be sent now."""

    def pump_once(self) -> bytes:
        """Return the output of one call of `pump`."""

    def open_one(self) -> int:
        """Open a stream and return its id; 0 if none can be opened."""

    def head(
        self,
        id: int,
        fields: Iterable[tuple[bytes, bytes]] = (),
        *,
        template: HeaderTemplate | None = None,
        ends: bool = False,
    ) -> None:
        """Send a head."""

    def message(self, id: int, payload: bytes, *, ends: bool = False, flags: int = 0) -> None:
        """Send a gRPC message."""

    def data(self, id: int, payload: bytes, *, ends: bool = False) -> None:
        """Send bytes as DATA, unchanged."""

    def trailers(
        self, id: int, fields: Iterable[tuple[bytes, bytes]] = (), *, template: HeaderTemplate | None = None
    ) -> None:
        """Send trailers."""

    def reset_stream(self, id: int, code: int) -> None:
        """Reset a stream."""

    def await_turn_of(self, id: int) -> bool:
        """Wait until a stream may send; return whether it had to wait."""

    def take_bytes(self, id: int, size: int) -> None:
        """Return credit for received bytes of a stream."""

    def grant_bytes(self, id: int, size: int) -> None:
        """Grant credit beyond the window of a stream."""

    def widen_now(self) -> None:
        """Raise the window of the connection."""

    def drain(self, text: str = "") -> None:
        """Send the first step of a drain."""

    def close_now(self, code: int = 0, text: str = "") -> None:
        """Send GOAWAY and end the connection."""

    def note_answer(self) -> None:
        """Count a call that was answered."""

    def waste(self) -> None:
        """Count a call that was refused for its caller's fault."""

    def pings_of(self, interval: float, timeout: float, minimum_interval: float) -> None:
        """Set the intervals of pings."""

    def check_at(self, now: int) -> int:
        """Run the checks that are due at `now`."""

    def be_late(self, late: int) -> None:
        """Note that the loop read nothing for `late` nanoseconds."""

    def lose(self) -> None:
        """Report that the byte stream was lost."""

    @property
    def is_client(self) -> bool: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def closed_code(self) -> int:
        """The error code with which this side ended the connection; -1 before that."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def open_streams(self) -> int: ...
    @property
    def passed(self) -> int:
        """The bytes of `queued` that messages of other streams overtake."""

    @property
    def queued(self) -> int:
        """Bytes of messages that wait to be sent."""

    @property
    def dropped_streams(self) -> int:
        """The number of streams that wait in queues although they have nothing to send."""

    @property
    def unsent(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def drain_step(self) -> int: ...
    @property
    def partial(self) -> tuple[int, int]:
        """The instant at which an incomplete frame began, or 0, and the number of its bytes so far."""

def attempt_hook(handler: StreamHandler, hook: str) -> None:
    """Call a hook of a handler as a connection does."""

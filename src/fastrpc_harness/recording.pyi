from typing import Any, Final, Literal, final

from fastrpc._core.calls.call import Call
from fastrpc._core.native.connection import Connection
from fastrpc._core.wire.settings import WireSettings

KIND_NAMES: Final[dict[int, str]]
STATE_NAMES: Final[dict[int, str]]

@final
class RecordedCall(Call):
    """A call of a `RecordingConnection`."""

@final
class RecordingConnection(Connection):
    """A connection without a socket: bytes and actions in, events and bytes out.

    The way to drive the core by hand. `now` is the time in nanoseconds and stands still until you set it. A client has
    its opening ready at once, a server answers the client's. Calls of the peer are named by their id, own ones by
    their id or by what `open_call` returned. Events are plain tuples::

        ("preface", version)
        ("settings", ((name, value), …))         known settings in their order; lists are tuples
        ("settings_ack",)
        ("request", id, method, flags, codec, compressor, attempt, priority, timeout_us, names, metadata,
         payload)
                                                 whole; flags are bits 4 to 7
        ("refused", id, status)                  by the connection, not started; its RESPONSE was sent
        ("dropped", id)                          a one-way call that is not run
        ("failed", id, status)                   by the connection: their call was answered, or ours given up
        ("data", id, codec, compressor, payload) a whole message of a stream
        ("end", id)
        ("cancel", id, reason)
        ("head", id, metadata)
        ("response", id, status, outcome, message, metadata, pushback_ms, elapsed_us, codec, compressor, payload)
        ("freed", id)                            the RESPONSE of a cancelled call is over
        ("not_started", id)                      our call, above the peer's last id
        ("unsendable", text)                     our call that waited is over what the peer has now announced
        ("credit", id, bytes)                    id 0 is the connection
        ("discarded", kind, id)                  came too late; charged to the late budget
        ("ignored", kind, id)                    means nothing in this state
        ("skipped", kind)                        unknown kind, or TEST
        ("ping", content)   ("pong", content)
        ("goaway", last_id, reason, final, retry_after_ms, text)
        ("auth", round, scheme, data)
        ("error", reason)                        the connection is over; always the last one
    """

    #: Whether what credit allows is written at once (default), or when `data_to_send` asks for it.
    sends_at_once: bool
    #: Whether the output is kept at present; `data_to_send` returns nothing then.
    is_blocked: bool

    def __init__(
        self,
        *,
        is_client: bool,
        settings: WireSettings | None = None,
        early_calls: Literal["none", "idempotent", "all"] = "all",
        first_id: int | None = None,
        stream_pool: int = 33_554_432,
    ) -> None: ...
    @property
    def events(self) -> list[tuple[Any, ...]]:
        """Events that `receive_data` has not returned yet."""

    @property
    def consumed(self) -> int:
        """Bytes of whole frames so far."""

    @property
    def credit(self) -> tuple[int, int, int]:
        """Bytes on the connection: may be sent, may be received, received but not yet credited."""

    @property
    def calls(self) -> list[int]:
        """The ids of the calls in both tables."""

    @property
    def waiting(self) -> int:
        """Messages in all queues, including dropped messages."""

    def receive_data(self, data: bytes) -> list[tuple[Any, ...]]:
        """Process bytes from the peer; return the events since the last call."""

    def data_to_send(self, most: int = -1) -> bytes:
        """Return the bytes to send to the peer.

        Pieces of large messages are added until there are `most` bytes; with -1, as far as credit allows.
        """

    def open_call(
        self,
        method: bytes,
        payload: bytes = b"",
        *,
        flags: int = 0,
        codec: int = 0,
        metadata: bytes = b"",
        attempt: int = 0,
        timeout_us: int | None = None,
    ) -> RecordedCall:
        """Open a call with flags for REQUEST. The `id` of the call is 0 until its first frame is written."""

    def cancel(self, call: Call | int, reason: int = 0) -> None:
        """Abandon a call. The peer frees its place with RESPONSE."""

    def respond(
        self, call: Call | int, payload: bytes = b"", *, metadata: bytes = b"", elapsed_us: int = 0
    ) -> None:
        """Answer with a value."""

    def respond_error(
        self,
        call: Call | int,
        status: int,
        text: bytes = b"",
        *,
        details: bytes = b"",
        outcome: int = 0,
        pushback_ms: int = 0,
    ) -> None:
        """Answer with a status. The unsent rest of an answer or a message is dropped."""

    def end_one_way(self) -> None:
        """Note that the handler of a one-way call has ended, so that another may run."""

    def push_head(self, call: Call | int, metadata: bytes = b"") -> None:
        """Commit the initial metadata of an answering stream."""

    def push_message(self, call: Call | int, payload: bytes = b"") -> None:
        """Send one message of a stream, as far as its window allows."""

    def push_end(self, call: Call | int) -> None:
        """End the messages that this side sends."""

    def wait_for_message(self, id: int) -> None:
        """Wait for the next message of a call as the application; the call must have no message."""

    def take_message(self, id: int) -> None:
        """Take the oldest message of a call as the application; its credit is returned to the peer."""

    def announce(self, settings: WireSettings) -> None:
        """Send SETTINGS. Lower limits apply after the peer's ACK, higher limits immediately.

        Raises:
            LocalProtocolError: they change the stream window, which only the first ones may set.
        """

    def ping(self, content: bytes = ...) -> None:
        """Send a PING with any 8 bytes."""

    def begin_drain(self, reason: int = 0, text: str = "") -> None:
        """Send GOAWAY, after which the peer opens no call. FINAL follows when the peer answers, or with `end_drain`."""

    def end_drain(self) -> None:
        """Send GOAWAY FINAL with the last call that was accepted."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """End the connection, and send the reason to the peer."""

    def find_call(self, id: int) -> RecordedCall | None:
        """Return a call of either side that is in progress, or None."""

    def state_of(self, id: int) -> str:
        """Return the name of the state of a call: a column of the state table."""

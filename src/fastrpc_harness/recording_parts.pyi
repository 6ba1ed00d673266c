from typing import final

from fastrpc._core.calls.call import Call
from fastrpc._core.native.call_slots import CallSlots
from fastrpc._core.native.callee_states import CalleeStates
from fastrpc._core.native.caller_states import CallerStates
from fastrpc._core.native.control_frames import ControlFrames
from fastrpc._core.native.frame_reader import FrameReader
from fastrpc._core.native.message_assembler import MessageAssembler
from fastrpc._core.native.parts_owner import PartsOwner
from fastrpc._core.native.send_queue import SendQueue
from fastrpc._core.wire.settings import WireSettings

@final
class RecordingOwner(PartsOwner):
    """Holds the named parts of a connection and no others, drives them, and keeps what they tell.

    Args:
        parts: of "reader", "sender", "slots" (which send through the sender), "assembler" (which needs a reader, and
            the sender for credit), "callee" (which needs these three), "caller" (which needs the slots as well) and
            "control" (which needs all of them).
        peer, ours: what the two sides accept; the floor unless given.
        is_settled: whether the peer said what it accepts.
    """

    #: Bytes that come before frames: `on_opening` takes them in one go.
    opening_left: int
    #: How many times reading goes on after many frames before it has to wait.
    rounds_left: int
    #: Why no part of a frame is taken any more: `on_part` returns it.
    why_full: str | None

    def __init__(
        self,
        *parts: str,
        is_client: bool = True,
        peer: WireSettings | None = None,
        ours: WireSettings | None = None,
        is_settled: bool = True,
    ) -> None: ...
    @property
    def events(self) -> list[tuple[object, ...]]:
        """Events of the parts: the name of the hook first."""

    @property
    def part_events(self) -> list[object]:
        """Events of the reader about incomplete frames: id and bytes so far, the number of events, "over"."""

    @property
    def reader(self) -> FrameReader | None: ...
    @property
    def assembler(self) -> MessageAssembler | None: ...
    @property
    def sender(self) -> SendQueue | None: ...
    @property
    def slots(self) -> CallSlots | None: ...
    @property
    def callee(self) -> CalleeStates | None: ...
    @property
    def caller(self) -> CallerStates | None: ...
    @property
    def control(self) -> ControlFrames | None: ...
    def announce(self, settings: WireSettings) -> None:
        """Send SETTINGS."""

    def begin_drain(self, reason: int, text: str) -> None:
        """Take the first step of a drain."""

    def call(
        self, id: int = 0, *, flags: int = 0, is_local: bool = False, window: int = 0, priority: int = 0
    ) -> Call:
        """Make a call that the parts find by its id; `window`: what either side may send of its stream."""

    def found(self, id: int) -> Call:
        """Return the call of an id; KeyError where none was made or told."""

    def take(self, most: int = -1) -> bytes:
        """Return the output of the sender: pieces as long as fewer than `most` bytes are there, -1: all."""

    @property
    def output_bytes(self) -> int:
        """Bytes of output that wait in the sender."""

    def receive_data(self, data: bytes) -> int:
        """Give bytes to the reader; return how many it consumed."""

    def receive_body(self, data: bytes) -> int:
        """Write the beginning of bytes into the memory of the payload on its way; return how many, 0 without one."""

    def respond(self, call: Call, payload: bytes, metadata: bytes | None = None) -> None:
        """Answer with a value."""

    def fail(self, call: Call, status: int, text: str) -> None:
        """Answer with a status."""

    def send_message(self, call: Call, payload: bytes) -> None:
        """Send one message of a stream."""

    def may_send(self, call: Call) -> bool:
        """Return whether a stream has room for its next message; if not it waits for `on_sendable`."""

    def send_credit(self, id: int, size: int) -> None:
        """Return credit to the peer."""

    def raise_credit(self, call: Call | None, size: int) -> bool:
        """Take credit over, of a stream or of the connection; return whether it stays below its bound."""

    def drop(self, call: Call) -> None:
        """Forget what was not written of a call."""

    def end_messages(self, call: Call) -> None:
        """Say that no further message of ours follows."""

    def forget_all(self) -> None:
        """Let the sender forget all that waits: the connection is lost."""

    @property
    def holds_messages(self) -> bool:
        """Whether a message waits in the sender."""

    def request(self, call: Call, payload: bytes) -> None:
        """Open a call of ours, now or when it has a slot."""

    def cancel(self, call: Call, reason: int = 0) -> None:
        """Give a call of ours up."""

    def end(self, call: Call) -> None:
        """Let a call of ours be over: its slot is free."""

    def unsent(self) -> list[Call]:
        """Return our calls of which nothing was written."""

    def allow(self, **limits: int) -> None:
        """Have the peer announce other limits, as its SETTINGS do."""

    def wait_for_message(self, call: Call) -> None:
        """Say that the application has taken all messages of a call and waits for the next."""

    def take_message(self, call: Call, cost: int) -> None:
        """Let the application take a message of a stream."""

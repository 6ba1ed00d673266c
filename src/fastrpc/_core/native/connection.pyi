from operator import attrgetter
from typing import Final, Literal

from fastrpc._core.framing.settings import Settings
from fastrpc._core.native.call_slots import CallSlots
from fastrpc._core.native.callee_states import CalleeStates
from fastrpc._core.native.caller_states import CallerStates
from fastrpc._core.native.frame_reader import FrameReader
from fastrpc._core.native.message_assembler import MessageAssembler
from fastrpc._core.native.parts_owner import PartsOwner
from fastrpc._core.native.send_queue import SendQueue

MAGIC: Final[bytes]
PREFACE: Final[bytes]
NO_COMMON_VERSION: Final[bytes]
NO_LAST_ID: Final[int]
NOT_CONFIGURED: Final[bytes]
BY_ID: Final[attrgetter[int]]

class Connection(PartsOwner):
    """The connection multiplexer: protocol state of one byte stream, without the stream.

    Bytes in, hooks out, bytes to send. The hooks are C functions that the sessions override.
    """

    #: When the last byte came, nanoseconds.
    received_ns: int

    def __init__(
        self,
        *,
        is_client: bool,
        settings: Settings,
        early_calls: Literal["none", "idempotent", "all"] = "idempotent",
        first_id: int | None = None,
        stream_pool: int = 33_554_432,
    ) -> None: ...
    def announce(self, settings: Settings) -> None:
        """Send SETTINGS; what they lower binds the peer once it acknowledged them, what they raise counts at once.

        The settings belong to the connection from here on.

        Raises:
            LocalProtocolError: they change the stream window, which only the first ones may say.
        """

    @property
    def reader(self) -> FrameReader:
        """What cuts received bytes into frames."""

    @property
    def assembler(self) -> MessageAssembler:
        """What puts cut messages together."""

    @property
    def callee(self) -> CalleeStates:
        """What is known of calls of theirs."""

    @property
    def caller(self) -> CallerStates:
        """What is known of calls of ours."""

    @property
    def slots(self) -> CallSlots:
        """Calls of ours: their slots at the peer and their ids."""

    @property
    def sender(self) -> SendQueue:
        """What waits to be sent, and the bytes that may leave."""

    @property
    def phase(self) -> int:
        """Where the opening stands: 0 preface, 1 SETTINGS, 2 open, 3 closed."""

    @property
    def closed_reason(self) -> int:
        """The GOAWAY reason that ended it; -1 while it lives."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def closed_by_peer(self) -> bool: ...
    @property
    def pings_sent(self) -> int: ...
    @property
    def skipped_frames(self) -> int:
        """Frames of unknown kinds that could be skipped."""

    @property
    def peer_last_id(self) -> int:
        """The last call of ours that the peer takes, once its GOAWAY named it."""

    @property
    def peer_sent_final(self) -> bool: ...
    @property
    def drain_step(self) -> int:
        """How far our own drain is: 0 none, 1 announced, 2 the last call is named."""

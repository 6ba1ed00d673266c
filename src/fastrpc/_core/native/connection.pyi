from typing import Literal

from fastrpc._core.native.call_slots import CallSlots
from fastrpc._core.native.callee_states import CalleeStates
from fastrpc._core.native.caller_states import CallerStates
from fastrpc._core.native.control_frames import ControlFrames
from fastrpc._core.native.frame_reader import FrameReader
from fastrpc._core.native.liveness import Liveness
from fastrpc._core.native.message_assembler import MessageAssembler
from fastrpc._core.native.parts_owner import PartsOwner
from fastrpc._core.native.send_queue import SendQueue
from fastrpc._core.wire.settings import WireSettings

class Connection(PartsOwner):
    """The connection of the native protocol: protocol state of one byte stream, without the stream.

    Bytes in, bytes to send; events go to the parts that know calls, and to the `Side`.

    Args:
        is_paced: whether the early bytes of a turn follow the pace of calls.
        answers_prove: whether only the answer to a PING proves that the peer lives.
    """

    def __init__(
        self,
        *,
        is_client: bool,
        settings: WireSettings,
        early_calls: Literal["none", "idempotent", "all"] = "idempotent",
        early_bytes: int = 0,
        first_id: int | None = None,
        stream_pool: int = 33_554_432,
        is_paced: bool = True,
        answers_prove: bool = False,
    ) -> None: ...
    @property
    def reader(self) -> FrameReader:
        """The reader, which cuts received bytes into frames."""

    @property
    def assembler(self) -> MessageAssembler:
        """The assembler, which joins cut messages."""

    @property
    def callee(self) -> CalleeStates:
        """The states of the peer's calls."""

    @property
    def caller(self) -> CallerStates:
        """The states of our calls."""

    @property
    def slots(self) -> CallSlots:
        """Our calls: their slots at the peer and their ids."""

    @property
    def sender(self) -> SendQueue:
        """The messages that wait to be sent, and the bytes that may leave."""

    @property
    def control(self) -> ControlFrames:
        """The frames of the connection itself."""

    @property
    def liveness(self) -> Liveness:
        """The rules by which it lives and ends."""

    @property
    def is_open(self) -> bool:
        """Return whether both sides know each other's settings, and neither ended the connection."""

    @property
    def has_drained(self) -> bool:
        """Return whether GOAWAY FINAL was sent, and the transport has all our bytes."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls: GOAWAY now, and the last call once the peer knows."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Send the reason, flush, and close when the peer has read it."""

from fastrpc._core.native.call_slots import CallSlots
from fastrpc._core.native.frame_reader import FrameReader
from fastrpc._core.native.message_assembler import MessageAssembler
from fastrpc._core.native.parts_owner import PartsOwner
from fastrpc._core.native.send_queue import SendQueue

class CallStates(PartsOwner):
    """What a connection knows of calls, theirs and ours: the two state tables of PROTOCOL.md, "Calls"."""

    @property
    def reader(self) -> FrameReader:
        """What cuts received bytes into frames."""

    @property
    def assembler(self) -> MessageAssembler:
        """What puts cut messages together."""

    @property
    def sender(self) -> SendQueue:
        """What waits to be sent, and the bytes that may leave."""

    @property
    def slots(self) -> CallSlots:
        """Calls of ours: their slots at the peer and their ids."""

    @property
    def highest_id(self) -> int:
        """The highest call id of the peer that was not discarded."""

    @property
    def last_taken(self) -> int:
        """The last call of theirs that is taken, once we said so."""

    @property
    def one_way_calls(self) -> int: ...
    @property
    def streams(self) -> int: ...
    @property
    def open_requests(self) -> int:
        """Requests of theirs that came in pieces and are not whole yet."""

    @property
    def open_messages(self) -> int:
        """Unfinished messages the peer may have at a time."""

    @property
    def open_responses(self) -> int: ...
    @property
    def dropped_one_way(self) -> int: ...

from fastrpc._core.base.buffer import Assembly
from fastrpc._core.native.call_slots import CallSlots
from fastrpc._core.native.parts_owner import PartsOwner
from fastrpc._core.native.send_queue import SendQueue

class FrameReader(PartsOwner):
    """Cuts received bytes into frames and keeps the windows and budgets every frame goes through."""

    @property
    def sender(self) -> SendQueue:
        """What waits to be sent, and the bytes that may leave."""

    @property
    def slots(self) -> CallSlots:
        """Calls of ours: their slots at the peer and their ids."""

    @property
    def sink(self) -> Assembly | None:
        """Where the payload of a frame that is still coming goes; None: it is skipped, or there is none."""

    @property
    def body_left(self) -> int:
        """Bytes of that payload that are missing."""

    @property
    def highest_id(self) -> int:
        """The highest call id of the peer that was not discarded."""

    @property
    def last_taken(self) -> int:
        """The last call of theirs that is taken, once we said so."""

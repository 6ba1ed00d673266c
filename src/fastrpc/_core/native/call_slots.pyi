from typing import Final

from fastrpc._core.native.send_queue import SendQueue

#: `ClientConfig.early_calls` as the core knows it.
EARLY_CALLS: Final[dict[str, int]]

class CallSlots(SendQueue):
    """The sending half of a connection: calls of ours, their slots at the peer and their ids."""

    #: The id of the next call of ours.
    next_id: int

    @property
    def peer_drains(self) -> bool:
        """Whether the peer said that it takes no new calls."""

    @property
    def is_closed(self) -> bool: ...

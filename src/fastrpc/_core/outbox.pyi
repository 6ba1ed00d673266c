from typing import Final, final

from fastrpc._core.settings import Settings
from fastrpc._core.timed import Timed

#: `ClientConfig.early_calls` as the core knows it.
EARLY_CALLS: Final[dict[str, int]]

@final
class Outgoing:
    """A message on its way out that could not be written at once."""

class Outbox(Timed):
    """The sending half of a connection: order, credit, call slots, and the pieces of large messages."""

    #: The time, nanoseconds of a monotonic clock; whoever drives the connection sets it before each use.
    now: int
    next_id: int

    @property
    def peer(self) -> Settings:
        """What the peer accepts; the floor until its SETTINGS came."""

    @property
    def peer_drains(self) -> bool: ...
    @property
    def flushes(self) -> int: ...
    @property
    def queued_bytes(self) -> int:
        """Bytes of messages that wait for a slot, for credit or for their turn."""

    @property
    def send_left(self) -> int:
        """Credit of the connection: bytes that may still be sent."""

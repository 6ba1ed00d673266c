from fastrpc._core.base.timed import Timed
from fastrpc._core.framing.settings import Settings

class SendQueue(Timed):
    """What waits to be sent, and the bytes that may leave: order, credit, and the pieces of large messages."""

    #: The time, nanoseconds of a monotonic clock; whoever drives the connection sets it before each use.
    now: int

    @property
    def peer(self) -> Settings:
        """What the peer accepts; the floor until its SETTINGS came."""

    @property
    def flushes(self) -> int: ...
    @property
    def queued_bytes(self) -> int:
        """Bytes of messages that wait for a slot, for credit or for their turn."""

    @property
    def send_left(self) -> int:
        """Credit of the connection: bytes that may still be sent."""

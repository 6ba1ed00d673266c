from typing import final

@final
class SendQueue:
    """The sender of a connection, a part of it: order, credit, pieces of large messages, bytes that may leave."""

    @property
    def flushes(self) -> int:
        """How many times output was taken."""

    @property
    def queued_bytes(self) -> int:
        """Bytes of messages that wait for a slot, for credit or for their turn."""

    @property
    def send_left(self) -> int:
        """Credit of the connection: bytes that may still be sent."""

from typing import final

@final
class SendQueue:
    """The sender of a connection, a part of it: order, credit, pieces of large messages, bytes that may leave."""

    @property
    def flushes(self) -> int:
        """The number of times output was taken."""

    @property
    def queued_bytes(self) -> int:
        """The bytes of messages that wait for a slot, for credit or for their turn."""

    @property
    def send_left(self) -> int:
        """The credit of the connection: bytes that may still be sent."""

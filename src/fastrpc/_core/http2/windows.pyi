from typing import final

@final
class FlowControl:
    """The windows of a connection, and the rules of those of its streams, in both directions."""

    @property
    def sending(self) -> int:
        """Bytes that the connection may send."""

    @property
    def first_sending(self) -> int:
        """Bytes that a new stream may send."""

    @property
    def first_receiving(self) -> int:
        """Bytes that the peer may send on a new stream."""

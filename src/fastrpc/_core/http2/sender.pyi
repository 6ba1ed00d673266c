from typing import final

@final
class Http2Message:
    """A message of a stream that could not be written at once."""

@final
class Http2Sender:
    """The streams that wait to send, and the bytes that may leave."""

    @property
    def queued_bytes(self) -> int:
        """Bytes of messages that wait."""

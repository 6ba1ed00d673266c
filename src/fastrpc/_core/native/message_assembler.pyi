from typing import final

@final
class MessageAssembler:
    """The assembler of a connection, a part of it: joins cut messages and keeps the windows of streams."""

    @property
    def stream_pool_left(self) -> int:
        """Bytes that streams may still borrow, for messages larger than their window and for windows that grow."""

    @property
    def growth_left(self) -> int:
        """The bytes of the pool that windows may take."""

    most_window: int
    """The size up to which the window of one stream may grow."""

from typing import final

@final
class MessageAssembler:
    """The assembler of a connection, a part of it: joins cut messages and keeps the windows of streams."""

    #: Bytes that streams may still borrow, for messages larger than their window and for windows that grow.
    stream_pool_left: int
    #: Those of them that windows may take.
    growth_left: int
    #: The size up to which the window of one stream may grow.
    most_window: int

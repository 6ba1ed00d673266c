from typing import final

@final
class MessageAssembler:
    """The assembler of a connection, a part of it: puts cut messages together and keeps the windows of streams."""

    #: Bytes that messages larger than their stream's window may still borrow.
    stream_pool_left: int

from fastrpc._core.native.frame_reader import FrameReader

class MessageAssembler(FrameReader):
    """Puts cut messages together and keeps the windows of streams."""

    #: Bytes that messages larger than their stream's window may still borrow.
    stream_pool_left: int

from fastrpc._core.intake import Intake

class Messages(Intake):
    """Puts cut messages together and keeps the windows of streams."""

    #: Bytes that messages larger than their stream's window may still borrow.
    stream_pool_left: int

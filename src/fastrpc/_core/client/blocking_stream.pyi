from logging import Logger
from typing import final

from fastrpc._core.io.engine import ByteStream

logger: Logger

class StreamEvents:
    """The events of a blocking stream, for threads that wait for more than answers."""

@final
class BlockingStream(ByteStream):
    """The input and output of one blocking connection, shared by the threads that use it.

    It owns its input and output, and closes it when the connection is over and no thread is in a system call on it.
    """

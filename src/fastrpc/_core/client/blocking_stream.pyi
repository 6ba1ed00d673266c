from logging import Logger
from typing import Any

from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc._core.io.engine import ByteStream, Engine
from fastrpc.endpoint import Endpoint

logger: Logger

class BlockingStream(ByteStream):
    """The input and output of one blocking connection, shared by the threads that use it.

    It owns its input and output, and closes it when the connection is over and no thread is in a system call on it.

    Args:
        engine: the protocol, which the stream holds.
        io: the connected input and output.
        endpoint: the address it leads to; logs name it.
    """

    def __init__(self, engine: Engine, io: BlockingIO, endpoint: Endpoint | str) -> None: ...
    @property
    def engine(self) -> Any:
        """The protocol."""

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def is_left_behind(self) -> bool:
        """Whether this is the child of a fork, and the stream the parent's: closed here, and nowhere else."""

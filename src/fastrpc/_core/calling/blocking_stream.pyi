from typing import Any

from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc._core.native.connection import Connection
from fastrpc.endpoint import Endpoint

class BlockingStream(Connection):
    """A connection on a blocking stream, shared by the threads that use it.

    It owns what it reads and writes, and closes it when the connection is over and no thread is in a system call on it.

    Args:
        io: what it reads and writes, connected.
        endpoint: where it leads; errors name it.
        options: those of `Connection`.
    """

    def __init__(self, *, io: BlockingIO, endpoint: Endpoint, **options: Any) -> None: ...
    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def is_left_behind(self) -> bool:
        """Whether this is the child of a fork, and the stream the parent's: closed here, and nowhere else."""

    @property
    def is_usable(self) -> bool:
        """Whether calls may go out on it: connected, and the server takes new ones, as far as is known."""

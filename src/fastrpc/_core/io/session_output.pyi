from asyncio import Transport

from fastrpc._core.io.engine import ByteStream, Engine
from fastrpc._core.loop.loop_state import LoopState

class SessionOutput(ByteStream):
    """The output of one connection on an event loop."""

    @property
    def engine(self) -> Engine:
        """The protocol of the connection."""

    @property
    def transport(self) -> Transport | None:
        """The transport below; None before it is connected and after it is lost."""

    @property
    def loop_state(self) -> LoopState: ...
    @property
    def descriptor(self) -> int:
        """The socket to which small output goes directly; -1 where all of it goes through the transport."""

    @property
    def is_write_paused(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

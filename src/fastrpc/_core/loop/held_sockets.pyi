from asyncio import AbstractEventLoop
from typing import final

@final
class HeldSockets:
    """The sockets of one loop whose input is held, asked once a second whether their peer is gone."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    def __len__(self) -> int: ...
    def look(self) -> None:
        """Notify the streams whose peer is gone; called by the loop."""

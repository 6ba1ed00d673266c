from asyncio import AbstractEventLoop
from typing import final

@final
class Spinner:
    """Keep one loop polling for a while after the last activity of its connections, which share it."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def is_armed(self) -> bool:
        """Whether the loop is kept from sleeping now."""

    @property
    def rounds(self) -> int:
        """The number of loop iterations it has taken part in."""

    @property
    def sessions(self) -> int:
        """The number of connections that use it."""

    def tick(self) -> None:
        """Keep the loop awake for one more round, or let it sleep; called by the loop."""

def allowed_spin(microseconds: int, stacklevel: int = 2) -> int:
    """Return the microseconds that a side may spin: `microseconds`, or 0 with a warning on a single core."""

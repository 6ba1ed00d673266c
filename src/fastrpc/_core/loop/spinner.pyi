from asyncio import AbstractEventLoop
from typing import final

@final
class Spinner:
    """Keeps one loop polling for a while after the last activity of its connections. Shared by all of them."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def is_armed(self) -> bool:
        """Whether the loop is kept from sleeping now."""

    @property
    def rounds(self) -> int:
        """Rounds of the loop that it took part in so far."""

    @property
    def sessions(self) -> int:
        """Connections that want it."""

    def tick(self) -> None:
        """Keep the loop awake for one more round, or let it sleep; called by the loop."""

def allowed_spin(microseconds: int, stacklevel: int = 2) -> int:
    """Return for how many microseconds a side may spin here: 0, with a warning, where there is one core only."""

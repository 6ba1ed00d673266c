from asyncio import AbstractEventLoop
from typing import final

@final
class PollClock:
    """The instants at which the polls of a loop returned, as far as callbacks can observe them."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def is_armed(self) -> bool:
        """Whether the beginning of the next turn will be noted."""

    @property
    def before_ns(self) -> int:
        """The instant at which the sockets that this turn's poll reported were last known to be empty."""

    def mark(self) -> None:
        """Note that a turn begins; called by the loop."""

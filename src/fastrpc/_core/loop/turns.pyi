from asyncio import AbstractEventLoop
from collections.abc import Callable

from fastrpc._core.base.timed import Timed

class Turns:
    """Gives slices of one loop's time."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    def __len__(self) -> int: ...
    def run(self) -> None:
        """Give slices for one turn of the loop; called by the loop."""

class SlicedWork(Timed):
    """Work written in Python that is done in slices.

    Args:
        step: does a little of it, for less than a millisecond if it can be; says whether there is more.
    """

    def __init__(self, turns: Turns, step: Callable[[], bool]) -> None: ...
    def begin(self) -> None:
        """Begin at once where nobody waits and this turn of the loop has time left; else wait for a slice."""

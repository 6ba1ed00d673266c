from asyncio import AbstractEventLoop
from collections.abc import Callable

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.loop.polling import PollClock

def slices_ns(others_ns: int, spent_ns: int) -> int:
    """Return how long the slices of a turn of the loop may take.

    Args:
        others_ns: the time of other callbacks since the last slices; 0 where none were waiting.
        spent_ns: the part of it in this turn.
    """

def unanswered_share(length_ns: int) -> int:
    """Return the time of work without an answer in slices that take `length_ns` together."""

class Turns:
    """The scheduler of slices on one loop."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    def __len__(self) -> int: ...
    @property
    def polls(self) -> PollClock:
        """The instants at which the loop's polls returned."""

    def mark(self) -> None:
        """Begin a turn of a loop that polls first; called by the loop. `run` follows after the turn's reads."""

    def run(self) -> None:
        """Run slices for one turn of the loop; called by the loop."""

class SlicedWork(Timed):
    """Work in slices, written in Python.

    Args:
        step: does a part of the work, in less than a millisecond if possible, and returns whether more remains.
    """

    def __init__(self, turns: Turns, step: Callable[[], bool]) -> None: ...
    def begin(self) -> None:
        """Begin now if no other work waits and this turn of the loop has time left; otherwise wait for a slice."""

    def queue(self) -> None:
        """Wait for a slice in any case."""

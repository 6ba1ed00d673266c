from asyncio import AbstractEventLoop
from typing import final
from weakref import WeakValueDictionary

states: WeakValueDictionary[int, LoopState]

@final
class LoopState:
    """What all connections of one event loop share: the receive buffer and the timers."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def loop(self) -> AbstractEventLoop: ...
    @property
    def live_timers(self) -> int:
        """Timers that run now; all of them are driven by one timer of the loop."""

    def fire(self) -> None:
        """Wake whoever is due; called by the loop."""

def loop_state(loop: AbstractEventLoop) -> LoopState:
    """Return the state of a loop, made on first use and kept by those who hold it."""

from asyncio import AbstractEventLoop
from typing import final
from weakref import WeakValueDictionary

from fastrpc._core.base.timed import Timed
from fastrpc._core.loop.spinner import Spinner
from fastrpc._core.loop.turns import Turns

states: WeakValueDictionary[int, LoopState]

@final
class LoopState(Timed):
    """What all connections of one event loop share: the receive buffer, the timers, the watch for stalls."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def loop(self) -> AbstractEventLoop: ...
    @property
    def live_timers(self) -> int:
        """Timers that run now, the watch's own left out; all of them are driven by one timer of the loop."""

    @property
    def spinner(self) -> Spinner | None:
        """What keeps the loop awake for the connections that want it; None while none did."""

    @property
    def turns(self) -> Turns:
        """Where work waits that would hold the loop for too long in one go."""

    @property
    def handlers(self) -> int:
        """Handlers on this loop that go on beyond their first turn."""

    @property
    def seen_ns(self) -> int:
        """When the loop was last known to run freely."""

    @property
    def calm_until_ns(self) -> int:
        """Up to when that is taken for granted; 0: nobody watches."""

    def fire(self) -> None:
        """Wake whoever is due; called by the loop."""

def loop_state(loop: AbstractEventLoop) -> LoopState:
    """Return the state of a loop, made on first use and kept by those who hold it."""

def no_loop(kind: str) -> RuntimeError:
    """Return the error of a thing that needs an event loop and was used where asyncio runs none."""

def wrong_loop(kind: str, own: AbstractEventLoop, other: AbstractEventLoop) -> RuntimeError:
    """Return the error of a thing of one loop that was used from another; it tells the two apart."""

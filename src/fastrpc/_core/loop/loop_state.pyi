from asyncio import AbstractEventLoop
from typing import final
from weakref import WeakValueDictionary

from fastrpc._core.base.timed import Timed
from fastrpc._core.loop.held_sockets import HeldSockets
from fastrpc._core.loop.spinner import Spinner
from fastrpc._core.loop.turns import Turns

states: WeakValueDictionary[int, LoopState]

@final
class LoopState(Timed):
    """The state that all connections of one event loop share: receive buffer, timers, stall watch."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def loop(self) -> AbstractEventLoop: ...
    @property
    def live_timers(self) -> int:
        """Running timers, without the stall watch's own; all of them are driven by one timer of the loop."""

    @property
    def spinner(self) -> Spinner | None:
        """The spinner of the connections that spin; None until the first one."""

    @property
    def turns(self) -> Turns:
        """The queue of work that would block the loop for too long."""

    @property
    def held_sockets(self) -> HeldSockets:
        """The sockets whose input is held."""

    @property
    def handlers(self) -> int:
        """Handlers on this loop that outlast their first turn."""

    @property
    def seen_ns(self) -> int:
        """The instant at which the loop last ran freely."""

    @property
    def calm_until_ns(self) -> int:
        """The instant until which the loop counts as free; 0: no watch."""

    def fire(self) -> None:
        """Fire the timers that are due; called by the loop."""

def loop_state(loop: AbstractEventLoop) -> LoopState:
    """Return the state of a loop, made on first use and kept alive by its users."""

def loop_seconds() -> tuple[float, float]:
    """Return the lag of the slowest loop of this process, and the total time that loops were blocked.

    Loops are watched while they serve calls. A stall of more than 20 ms counts as blocked.
    """

def no_loop(kind: str) -> RuntimeError:
    """Return the error for an object that needs an event loop and is used where none runs."""

def wrong_loop(kind: str, own: AbstractEventLoop, other: AbstractEventLoop) -> RuntimeError:
    """Return the error for an object of one loop that is used from another; its text names both loops."""

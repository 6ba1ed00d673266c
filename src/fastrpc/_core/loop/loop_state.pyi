from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import final
from weakref import WeakValueDictionary

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc._core.loop.polling import Spinner
from fastrpc._core.loop.turns import Turns

states: WeakValueDictionary[int, LoopState]

async def slept(seconds: float) -> None:
    """Sleep for at least this number of seconds."""

@final
class HeldSockets:
    """The sockets of one loop whose input is held, checked once a second for a lost peer."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    def __len__(self) -> int: ...
    def look(self) -> None:
        """Notify the streams whose peer is gone; called by the loop."""

@final
class TaskPool:
    """Keep up to 64 ended tasks of one loop for the next calls."""

    loop: AbstractEventLoop

    def __init__(
        self, loop: AbstractEventLoop, factory: Callable[[AbstractEventLoop], HandlerTask] = ...
    ) -> None: ...
    def __len__(self) -> int: ...
    def acquire(self) -> HandlerTask:
        """Return an idle task without other references; a new one if the pool has no such task."""

    def release(self, task: HandlerTask) -> bool:
        """Take back a task that ended, and return whether it will be used again.

        The caller must hold the only reference, which is possible in C alone, and forget it. If others hold
        one too, or a weak one, or set an attribute, the task stays as it ended and the pool drops it.
        """

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
    """Return the state of a loop, created on first use and kept alive by its users."""

def loop_seconds() -> tuple[float, float]:
    """Return the lag of the slowest loop of this process, and the total time that loops were blocked.

    Loops are watched while they serve calls. A stall of more than 20 ms counts as blocked.
    """

def no_loop(kind: str) -> RuntimeError:
    """Return the error for an object that needs an event loop and is used where no loop runs."""

def wrong_loop(kind: str, own: AbstractEventLoop, other: AbstractEventLoop) -> RuntimeError:
    """Return the error for an object of one loop that is used from another; its text names both loops."""

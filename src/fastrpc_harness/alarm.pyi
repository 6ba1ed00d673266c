from collections.abc import Callable
from typing import Any, final

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.io.engine import Engine
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.loop.polling import PollClock

@final
class Alarm(Timed):
    """An object that the loop wakes, as connections and calls are woken.

    Args:
        wake: called when the timer expires.
        spin: called each time the spinning loop looks for data; returns whether there was some.
    """

    def __init__(
        self, wake: Callable[[], Any] | None = None, spin: Callable[[], bool] | None = None
    ) -> None: ...

def start_timer(state: LoopState, timed: Timed, due_ns: int) -> None:
    """Start the timer of an object, or move the running one, to an instant of the monotonic clock."""

def stop_timer(state: LoopState, timed: Timed) -> None:
    """Stop the timer of an object; nothing happens if it does not run."""

def watch(state: LoopState, now_ns: int) -> None:
    """Watch the loop for stalls from now on, as a connection does that reads."""

def join_spinner(state: LoopState) -> None:
    """Take part in spinning, as a connection does."""

def leave_spinner(state: LoopState, timed: Timed) -> None:
    """Take part no longer."""

def touch_spinner(state: LoopState, timed: Timed, until_ns: int) -> None:
    """Note activity of an object: the loop spins up to that instant."""

def arm(polls: PollClock, since_ns: int, *, is_read: bool = False) -> None:
    """Have the next turns of the loop marked, as work does that took long."""

def dated(polls: PollClock, now_ns: int) -> int:
    """Return the date of what a connection reads now, as far as polls tell; they are marked."""

def date_of(engine: Engine) -> int:
    """Return the date of what the engine handles now."""

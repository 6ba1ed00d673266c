from typing import Any, final

class Timed:
    """An object that a loop wakes: a call at its deadline, a connection for checks, spinning and the end of its peer.

    It carries its own timer, so that starting and stopping one allocates nothing.
    """

@final
class TimerWheel:
    """A timer wheel for hundreds of thousands of deadlines, without a Python object for each.

    A timer is a C struct inside its owner; compiled code adds and cancels it, both in O(1), and passes in the
    time, nanoseconds of `time.monotonic_ns()`. Due times are rounded up to a tick of 2**20 ns: a timer never
    expires early and at most one tick late. Python code that wants a wheel uses `Schedule`.

    A wheel takes 33 KiB. One per event loop is meant, so that all deadlines cost one timer of the loop.
    """

    def __init__(self, now_ns: int = 0) -> None: ...
    @property
    def live(self) -> int:
        """Timers added and neither cancelled nor popped."""

@final
class ScheduledValue:
    """A value and its timer; made by `Schedule.schedule`."""

    @property
    def value(self) -> Any: ...

@final
class Schedule:
    """A `TimerWheel` of Python values: the way to drive a wheel without C."""

    def __init__(self, now_ns: int = 0) -> None: ...
    @property
    def wheel(self) -> TimerWheel: ...
    def schedule(self, due_ns: int, value: object) -> ScheduledValue:
        """Schedule `value` for `due_ns`."""

    def reschedule(self, scheduled: ScheduledValue, due_ns: int) -> None:
        """Change its due time, whether it is linked, cancelled or expired."""

    def cancel(self, scheduled: ScheduledValue) -> None:
        """Cancel it; fine if it is not linked."""

    def advance(self, now_ns: int) -> None:
        """Advance the time; an earlier time than the latest changes nothing."""

    def pop_expired(self) -> ScheduledValue | None:
        """Pop the first due timer, or None."""

    def expired(self, now_ns: int) -> list[Any]:
        """Advance, and pop the values of all due timers in the order of their ticks."""

    def next_due_ns(self) -> int:
        """Return the time to advance to next; 0 if nothing is scheduled.

        Never later than the next due time, rounded up to its tick. It may be earlier; then advancing moves timers
        closer, and the next answer is more exact.
        """

    def __len__(self) -> int: ...

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

@final
class Spinner:
    """Keep one loop polling for a while after the last activity of its connections, which share it."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def is_armed(self) -> bool:
        """Whether the loop is kept from sleeping now."""

    @property
    def rounds(self) -> int:
        """The number of loop iterations it has taken part in."""

    @property
    def sessions(self) -> int:
        """The number of connections that use it."""

    def tick(self) -> None:
        """Keep the loop awake for one more round, or let it sleep; called by the loop."""

def allowed_spin(microseconds: int, stacklevel: int = 2) -> int:
    """Return the microseconds that a side may spin: `microseconds`, or 0 with a warning on a single core."""

@final
class Bell:
    """Wakes an event loop from other threads, by a descriptor that becomes readable.

    It closes its descriptors when it is deallocated, not earlier: a thread that outlives the loop may still ring,
    and must never write into a connection that got the same descriptor number.
    """

    def __init__(self) -> None: ...
    @property
    def descriptor(self) -> int:
        """Return the descriptor that the loop watches for reading."""

    def ring(self) -> None:
        """Make the descriptor readable. Any thread; keeps the GIL, so no other thread runs meanwhile."""

    def answer(self) -> None:
        """Make it unreadable again. For the loop; does not block."""

@final
class ThreadGate:
    """A gate at which one thread waits until another opens it."""

    def __init__(self) -> None: ...
    def open(self) -> None:
        """Let the thread pass, now or when it arrives. Call it again only after the thread has passed."""

    def wait(self, seconds: float, bell: Bell | None = None) -> bool:
        """Wait until the gate opens; False after the timeout. A negative timeout means no limit.

        A bell is rung on the way, after the GIL was given up: the loop it wakes finds the GIL free. That saves two of
        the four thread switches of a round trip.
        """

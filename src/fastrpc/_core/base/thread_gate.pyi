"""A gate for a waiting thread, and a bell that wakes an event loop."""

from typing import final

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

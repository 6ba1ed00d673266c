"""What threads wait at, and what they wake an event loop with."""

from typing import final

@final
class Bell:
    """Wakes an event loop from other threads, by a descriptor that becomes readable.

    It closes its descriptors when nobody holds it any more, not earlier: a thread that outlives the loop rings in
    vain, and never writes into a connection that was given the same number.
    """

    def __init__(self) -> None: ...
    @property
    def descriptor(self) -> int:
        """What the loop watches for reading."""

    def ring(self) -> None:
        """Make the descriptor readable. Any thread; keeps the GIL, so nobody else runs because of it."""

    def answer(self) -> None:
        """Make it unreadable again. For the loop; does not block."""

@final
class Gate:
    """Where one thread waits until another opens."""

    def __init__(self) -> None: ...
    def open(self) -> None:
        """Let the thread through, now or when it comes. Not again before it went through."""

    def wait(self, seconds: float, bell: Bell | None = None) -> bool:
        """Wait until somebody opens; False once the time is over. A negative time is no limit.

        A bell is rung on the way, after the GIL was given up: the loop it wakes finds the GIL free. That saves two
        of the four thread switches of a hand-over and back.
        """

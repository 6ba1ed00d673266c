from typing import final

from fastrpc import config

#: "closed", "open", "half_open".
STATES: tuple[str, ...]

@final
class Breaker:
    """The circuit breaker of one method at one endpoint.

    A call asks for a ticket with `acquire` and ends with `record`, or with `release` when it said nothing about the
    endpoint, such as one that was cancelled. Instants are seconds of any one monotonic clock.
    """

    def __init__(self, settings: config.Breaker) -> None: ...
    @property
    def state(self) -> str:
        """One of `STATES`."""

    def acquire(self, now: float) -> int:
        """Return a ticket for a call, or 0 when it is held back.

        While half open as many are given as probes are missing.
        """

    def record(self, ticket: int, is_fault: bool, now: float) -> None:
        """Count the end of a call; one that began before the last change of state is ignored."""

    def release(self, ticket: int) -> None:
        """Give a ticket back uncounted."""

    def opens_in(self, now: float) -> float:
        """Return the seconds until a probe may be made; 0 unless it is open."""

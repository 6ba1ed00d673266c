from typing import final

from fastrpc import config

#: "closed", "open", "half_open".
STATES: tuple[str, ...]

@final
class EndpointBreaker:
    """The circuit breaker of one method at one endpoint.

    A call takes a ticket with `acquire` and ends with `record`, or with `release` if its outcome tells nothing about
    the endpoint, such as a cancellation. Instants are seconds of any one monotonic clock.
    """

    def __init__(self, settings: config.Breaker) -> None: ...
    @property
    def state(self) -> str:
        """One of `STATES`."""

    def acquire(self, now: float) -> int:
        """Return a ticket for a call, or 0 if the breaker refuses it.

        While half open it admits only the missing probes.
        """

    def record(self, ticket: int, is_fault: bool, now: float) -> None:
        """Count the end of a call; calls from before the last change of state are ignored."""

    def release(self, ticket: int) -> None:
        """Return a ticket without counting the call."""

    def opens_in(self, now: float) -> float:
        """Return the seconds until the next probe; 0 unless the breaker is open."""

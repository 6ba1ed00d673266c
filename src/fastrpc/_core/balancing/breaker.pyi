from collections.abc import Callable
from typing import final

from fastrpc import config

@final
class RetryBudget:
    """Bounds the retries of a client, hedges included, to a share of its calls, over the last second.

    Args:
        share: retries per call, 0.2 for one in five.
        per_second: retries beyond that, for clients with few calls.
        clock: returns seconds; None takes the monotonic clock.

    Raises ValueError for a negative number.
    """

    def __init__(
        self, share: float = 0.2, per_second: float = 10.0, *, clock: Callable[[], float] | None = None
    ) -> None: ...
    @property
    def share(self) -> float: ...
    @property
    def per_second(self) -> float: ...
    @property
    def calls(self) -> int:
        """Calls of the last second."""

    @property
    def retries(self) -> int:
        """Retries of the last second."""

    @property
    def has_room(self) -> bool:
        """Return whether one more retry is within the budget now."""

    def note_call(self) -> None:
        """Count a call; its first attempt is free."""

    def take(self) -> bool:
        """Return whether one more retry is within the budget, and count it if so."""

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

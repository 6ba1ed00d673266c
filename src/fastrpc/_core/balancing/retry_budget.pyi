from collections.abc import Callable
from typing import final

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

"""How long an attempt waits for a connection after others have failed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastrpc.client.endpoint_plan import EndpointPlan

__all__ = ["Patience"]


class Patience:
    """The time that a further attempt waits for a connection: until one more dial fails.

    A connection that ended early is redialled only after the first pause of the backoff. A call that was on it and has
    time left must not fail because of that pause. So the wait lasts at least that pause, however many endpoints fail
    meanwhile.

    Args:
        least_seconds: the first pause of the backoff.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._ends: float | None = None
        self._failures: dict[EndpointPlan, int] = {}

    def is_over(self, endpoints: "Sequence[EndpointPlan]", now: float) -> bool:
        """Return whether an attempt without a connection fails now. The first use starts the wait."""
        if self._ends is None:
            self._ends = now + self._least_seconds
            self._failures = {each: each.failures for each in endpoints}
        if not endpoints:
            return True
        if now < self._ends:
            return False
        return any(each.failures != self._failures.get(each, each.failures) for each in endpoints)

"""A call as fail modes see it, and attempts that end as a test says."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc.endpoint import Endpoint
from fastrpc.failmodes import RetryPolicy

__all__ = ["FakeCall", "Script", "policy"]


def policy(
    *, share: float = 0.2, per_second: float = 10, clock: Callable[[], float] = lambda: 100.0
) -> RetryPolicy:
    """Return a policy whose pauses have no jitter and whose time stands still."""
    budget = RetryBudget(share, per_second, clock=clock)
    return RetryPolicy(budget=budget, uniform=lambda low, high: 1.0, clock=clock)


class FakeCall:
    """A call whose pauses pass at once and are noted."""

    method = "arith.mul"

    def __init__(
        self,
        *,
        idempotent: bool = True,
        inside_retry: bool = False,
        kind: str = "unary",
        remaining: float | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.is_idempotent = idempotent
        self.inside_retry = inside_retry
        self.kind = kind
        self.retry_policy = policy or _policy()
        self.pauses: list[float] = []
        self._remaining = remaining

    def remaining(self) -> float | None:
        return None if self._remaining is None else self._remaining - sum(self.pauses)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


_policy = policy


class Script:
    """Endpoints by turns, and attempts that return or raise one outcome after the other."""

    def __init__(self, *outcomes: Any, endpoints: int = 3) -> None:
        self.endpoints = [Endpoint(f"memory://{chr(97 + index)}") for index in range(endpoints)]
        self.outcomes = list(outcomes)
        self.picks = 0
        self.tried = ""

    def pick(self) -> Endpoint:
        self.picks += 1
        return self.endpoints[(self.picks - 1) % len(self.endpoints)]

    async def attempt(self, endpoint: Endpoint) -> Any:
        self.tried += endpoint.address.path
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, Awaitable):
            return await outcome
        return outcome

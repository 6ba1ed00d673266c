from collections.abc import Callable
from typing import final

from fastrpc._core.limiting.concurrency_limiter import ConcurrencyLimiter
from fastrpc._core.limiting.rate_limiter import RateLimiter

@final
class BoundLimit:
    """A limit as it holds for one method.

    Args:
        per: the attribute that calls count by, as for `fastrpc.limits.RateLimit`.
        name: the key of all calls of the method, if `per` is "server", "service" or "method".
        text: the reason of a refusal.
    """

    def __init__(
        self, limiter: RateLimiter | ConcurrencyLimiter, per: str, name: bytes, text: str
    ) -> None: ...
    @property
    def text(self) -> str: ...

@final
class CallLimits:
    """The limits of one server.

    Args:
        bind: returns the limits of a method; called once for each.
    """

    def __init__(self, bind: Callable[[str], tuple[BoundLimit, ...]]) -> None: ...
    @property
    def refused_by_rate(self) -> int: ...
    @property
    def refused_by_concurrency(self) -> int: ...

from collections.abc import Callable
from logging import Logger
from typing import final

from fastrpc._core.limiting.limiters import ConcurrencyLimiter, RateLimiter
from fastrpc._core.server.access import Access
from fastrpc._core.server.admission import CallAdmission
from fastrpc._core.server.handler_runner import HandlerRunner
from fastrpc._core.server.refused_calls import RefusedCalls
from fastrpc._core.server.served_call import ServerCall
from fastrpc.rpc.identity import Identity

@final
class BoundLimit:
    """A limit, bound to one method.

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

logger: Logger

@final
class Guards:
    """The guards of a gate: the rights of callers, and their limits.

    Args:
        runner: keeps calls that wait for a verdict.
        refusals: refuse calls of callers without rights, or over a limit.
        default_timeout_ns: the timeout of callers that state none; 0: no limit.
    """

    def __init__(
        self, runner: HandlerRunner, admission: CallAdmission, refusals: RefusedCalls, default_timeout_ns: int
    ) -> None: ...
    @property
    def access(self) -> Access | None:
        """The callers that may call each method; None: every peer may call everything."""

    def require(self, access: Access | None) -> None:
        """Check the rights of callers on all connections; None ends the checks."""

    @property
    def limits(self) -> CallLimits | None:
        """The limits of callers."""

    def limit(self, limits: CallLimits | None) -> None:
        """Apply limits to the calls of every connection, after the callers' rights are checked; None lifts them."""

    def note_late(self, call: ServerCall) -> None:
        """Answer a call whose deadline passed while its credential was being verified."""

    def conclude_access(
        self,
        call: ServerCall,
        method: str,
        names: int,
        payload: bytes,
        identity: Identity | None,
        status: int,
        seconds: float | None,
    ) -> None:
        """Continue a call whose own credential was verified."""

"""The interface of fail modes, the rules for retries, and the table that finds a mode by name.

Fail modes ask `Attempts` before each retry. So the rules for safe retries are in one place for both clients, and a
custom fail mode cannot break them. The final error never has `processed` "no" if an earlier attempt may have run.

A server that did not start the call may send `retry_after`. It is obeyed even if another endpoint is free. Without it
the next attempt follows immediately, so restarts of servers cost no time.

If a call passes several tiers of servers, only the tier next to a failure retries (`inside_retry`). When all of three
tiers retried, each with its own budget, one call at the top became 1.78 calls at the bottom. With this rule it becomes
at most 1.21, the limit of the last tier's budget. A handler that wants its callers to retry raises its own error.
"""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar, cast

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.base.histogram import count_retry
from fastrpc.config import Retries
from fastrpc.config.built_in import built_in
from fastrpc.endpoint import Endpoint
from fastrpc.errors import (
    CallError,
    ConfigError,
    ConnectError,
    FastRPCError,
    OverloadedError,
    UnavailableError,
)

__all__ = [
    "Attempt",
    "AttemptedCall",
    "Attempts",
    "FailMode",
    "Pick",
    "RetryPolicy",
    "SequentialMode",
    "blocking_fail_mode_for",
    "check_retries",
    "fail_mode_for",
    "is_sequential",
    "sequential",
    "try_elsewhere",
    "was_load",
]

#: Returns the endpoint of the next attempt. An endpoint that failed in this call is returned only as the last choice.
Pick: TypeAlias = Callable[[], Endpoint]

#: Makes one attempt at an endpoint.
Attempt: TypeAlias = Callable[[Endpoint], Awaitable[Any]]

_Run = TypeVar("_Run", bound=Callable[..., Any])

# name -> (module, class). Imported on first use.
_BUILT_IN = {
    "failfast": ("fastrpc.failmodes.failfast", "FailFast"),
    "failover": ("fastrpc.failmodes.failover", "FailOver"),
    "failtry": ("fastrpc.failmodes.failtry", "FailTry"),
    "failbackup": ("fastrpc.failmodes.failbackup", "FailBackup"),
}

_MOST_RETRIES = 100

# The `processed` of several attempts is the greatest of their values.
_CERTAINTY = {"no": 0, "unknown": 1, "yes": 2}


class AttemptedCall(Protocol):
    """The part of a call that fail modes use."""

    @property
    def method(self) -> str:
        """Full name."""

    @property
    def kind(self) -> str:
        """One of "unary", "client_stream", "server_stream", "both_ways"."""

    @property
    def is_idempotent(self) -> bool:
        """True if the server may run the call twice."""

    @property
    def inside_retry(self) -> bool:
        """True if the caller is a handler that itself serves a retry."""

    @property
    def retry_policy(self) -> "RetryPolicy":
        """The retry rules and the retry budget of the client."""

    def remaining(self) -> float | None:
        """Return the seconds left until the deadline, or None without a deadline."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Sleep, with a loop or without one."""


class FailMode(Protocol):
    """Decides whether and where a failed attempt is repeated."""

    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the answer of the successful attempt, or raise the error of the call.

        If it returns without a successful attempt, a stream ends with the error of the last attempt.

        A fail mode for a SyncClient must await only `attempt` and `call.sleep`. A fail mode that awaits anything else
        sets the attribute `needs_loop = True`, and a SyncClient refuses it.
        """


class SequentialMode(FailMode, Protocol):
    """A fail mode that makes one attempt at a time and lets `Attempts` decide about retries."""

    @property
    def retries(self) -> int:
        """The number of attempts after the first one."""


def sequential(run: _Run) -> _Run:
    """Mark the `run` of a `SequentialMode`.

    The client itself makes the first attempt of such a mode, and calls `run` only if a retry is possible. The mark is
    on the method, so a class that overrides `run` does not inherit it.
    """
    run.__dict__["is_sequential"] = True
    return run


def is_sequential(mode: FailMode) -> TypeGuard[SequentialMode]:
    """Return whether the `run` of a fail mode is marked `sequential`."""
    return bool(getattr(mode.run, "is_sequential", False))


class RetryPolicy:
    """The retry policy of one client, for all fail modes.

    Args:
        budget: the retry budget that all calls of the client share.
        uniform: returns a random number between two numbers; for tests.
        clock: returns an instant in seconds that never decreases; for tests.
    """

    def __init__(
        self,
        settings: Retries | None = None,
        *,
        budget: RetryBudget | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or Retries()
        self.budget = budget or RetryBudget(self.settings.budget_share, self.settings.budget_per_second)
        self._uniform = uniform
        self.clock = clock

    def pause(self, retries: int) -> float:
        """Return the seconds to wait after this many retries."""
        backoff = self.settings.backoff
        # Multiply step by step: a single power could overflow.
        wait = backoff.first
        for _ in range(retries):
            if wait >= backoff.longest:
                break
            wait *= backoff.factor
        return min(wait, backoff.longest) * self._uniform(1 - backoff.jitter, 1 + backoff.jitter)


class Attempts:
    """Decides about the attempts of one call. Both clients and all fail modes use it.

    Args:
        retries: the number of attempts after the first one.
        elsewhere: whether the next attempt uses another endpoint, so that it need not wait for the failed endpoint.
    """

    def __init__(self, call: AttemptedCall, retries: int, *, elsewhere: bool = True) -> None:
        self._call = call
        self._policy = call.retry_policy
        self._left = retries
        self._retries = 0
        self._elsewhere = elsewhere
        self._had_free = False
        self._worst: FastRPCError | None = None
        # The earliest instant of a retry: a refusal asked for it while another attempt was running.
        self._earliest = 0.0

    def note(self, error: Exception) -> None:
        """Record the error of an attempt that is not repeated, because another attempt is still running."""
        if asked := getattr(error, "retry_after", None):
            self._earliest = max(self._earliest, self._policy.clock() + asked)
        if isinstance(error, FastRPCError) and (
            self._worst is None or _CERTAINTY[error.processed] > _CERTAINTY[self._worst.processed]
        ):
            self._worst = error

    def after(self, error: Exception) -> float | None:
        """Return the seconds to wait before the next attempt; None if a retry is not allowed.

        The first time that a call provably did not start, it is retried immediately, and this retry is not counted. Any
        other retry counts as an attempt and against the budget, and if the handler may have run, the method must be
        idempotent.
        """
        if not isinstance(error, FastRPCError):
            return None
        self.note(error)
        if self._call.inside_retry or not self._may_repeat(error):
            return None
        if self._earliest:
            waits, self._earliest = max(0.0, self._earliest - self._policy.clock()), 0.0
        else:
            waits = 0.0
        if not waits and self._is_free(error):
            self._had_free = True
            count_retry(error.status.name)
            return 0.0
        if not self._left:
            return None
        pause = max(waits, self._pause_after(error))
        remaining = self._call.remaining()
        if remaining is not None and pause >= remaining:
            return None
        # An attempt that reached no server caused no load, so its retry is free.
        if not isinstance(error, ConnectError) and not self._policy.budget.take():
            return None
        self._left -= 1
        self._retries += 1
        count_retry(error.status.name)
        return pause

    def final(self, error: Exception) -> Exception:
        """Return the final error, with the `processed` of all attempts."""
        worst = self._worst
        if worst is None or not isinstance(error, FastRPCError):
            return error
        if _CERTAINTY[error.processed] < _CERTAINTY[worst.processed]:
            error.processed = worst.processed
            error.retryable = error.retryable and self._call.is_idempotent
            error.__cause__ = error.__cause__ or worst
        return error

    def _may_repeat(self, error: FastRPCError) -> bool:
        """Return whether a retry is safe and may succeed."""
        if error.processed == "no":
            return error.retryable
        return self._call.is_idempotent and (error.retryable or isinstance(error, UnavailableError))

    def _is_free(self, error: FastRPCError) -> bool:
        if self._had_free or was_load(error):
            return False
        if getattr(error, "retry_after", None):
            return False
        return not isinstance(error, ConnectError) or (self._elsewhere and self._left > 0)

    def _pause_after(self, error: FastRPCError) -> float:
        asked: float = getattr(error, "retry_after", None) or 0.0
        if self._elsewhere and isinstance(error, ConnectError):
            return asked
        return max(asked, self._policy.pause(self._retries))


def was_load(error: FastRPCError) -> bool:
    """Return whether an attempt caused work at a server, even if only a refusal. A retry then counts in the budget."""
    return error.processed != "no" or isinstance(error, OverloadedError | CallError)


async def try_elsewhere(call: AttemptedCall, pick: Pick, attempt: Attempt, retries: int) -> Any:
    """Try endpoints one after the other; return the first answer, or raise the last error."""
    attempts = Attempts(call, retries)
    earlier: Exception | None = None
    try:
        while True:
            try:
                endpoint = pick()
            except UnavailableError as unavailable:
                if earlier is None:
                    raise
                raise attempts.final(earlier) from unavailable
            try:
                return await attempt(endpoint)
            except Exception as error:
                pause = attempts.after(error)
                if pause is None:
                    attempts.final(error)
                    raise
                earlier = error
            if pause:
                await call.sleep(pause)
    finally:
        # Avoid a reference cycle: the tracebacks of the errors refer to this frame.
        del attempts, earlier


def check_retries(retries: object) -> int:
    """Return a valid number of retries.

    Raises:
        ConfigError: the number is invalid.
    """
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= _MOST_RETRIES:
        raise ConfigError(f"retries is {retries!r}, it must be a whole number from 0 to {_MOST_RETRIES}")
    return retries


def fail_mode_for(choice: FailMode | str) -> FailMode:
    """Return the fail mode for a name or an object.

    Raises:
        ConfigError: the name is unknown, or the object cannot run calls.
    """
    if isinstance(choice, str):
        return cast(FailMode, built_in("fail mode", choice, _BUILT_IN))
    if isinstance(choice, type) or not callable(getattr(choice, "run", None)):
        raise ConfigError(
            f"fail_mode is {choice!r}, it is {'a class' if isinstance(choice, type) else 'no fail mode'}",
            hint="give a name, or an object with run(call, pick, attempt), such as fastrpc.failmodes.FailOver()",
        )
    return choice


def blocking_fail_mode_for(choice: FailMode | str) -> FailMode:
    """Return the fail mode of a client that has no event loop.

    Raises:
        ConfigError: for the reasons of `fail_mode_for`, or because the fail mode needs an event loop.
    """
    mode = fail_mode_for(choice)
    if getattr(mode, "needs_loop", False):
        raise ConfigError(
            f"fail_mode is {type(mode).__name__}, which makes concurrent attempts; "
            "a SyncClient makes one at a time",
            hint="use 'failover', or a Client instead of a SyncClient",
        )
    return mode

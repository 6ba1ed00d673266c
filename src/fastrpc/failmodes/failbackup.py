"""Hedging: a second, concurrent attempt if the first attempt is slow. The first answer wins.

A feedback rule sets the delay: an attempt that takes longer raises the delay by 10 %, any other attempt lowers it by
0.5 %. So in the long run one attempt in twenty takes longer than the delay, even if the latency changes, and although
slow attempts are cancelled. An expired timer does not prove that an attempt was slow: uvloop's timers have a resolution
of milliseconds, and a loop that was blocked runs timers before it reads received bytes.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, cast

from fastrpc._core.base.histogram import count_retry
from fastrpc.config.validation import is_duration
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, UnavailableError
from fastrpc.failmodes.base import Attempt, AttemptedCall, Attempts, Pick, check_retries, try_elsewhere
from fastrpc.user_code import contained

__all__ = ["FailBackup", "SlowLimit"]

# Most methods with separate limits; all further methods share one limit.
_MOST_METHODS = 1_000

# The increase of the limit, 10 %, by an attempt that takes longer; any other attempt lowers the limit by 0.5 %.
_STEP = 0.1

# The number of attempts whose longest sets the first limit. Until then no second attempts are made.
_FIRST_ATTEMPTS = 10

# The kinds of calls that can be hedged: they send only arguments.
_HEDGED = {"unary", "server_stream"}

# The resolution of a loop's timers. uvloop rounds less than half of this to 0.
_TIMER_SECONDS = 0.001


class SlowLimit:
    """Estimates the time that only the share `slow_share` of a method's attempts exceeds.

    Each attempt that exceeds the limit raises it, each other attempt lowers it, so that in the long run the intended
    share exceeds it (Ma, Muthukrishnan, Sandler, "Frugal streaming for estimating quantiles", arXiv 1407.1121, here
    with steps in proportion to the limit). The rule needs only whether an attempt exceeded the limit, so attempts that
    were cancelled after the limit count, too.
    """

    def __init__(self, slow_share: float = 0.05) -> None:
        self._slow_share = slow_share
        self._observed = 0
        self._seconds = 0.0

    @property
    def seconds(self) -> float | None:
        """The limit in seconds; None while too few attempts were observed."""
        return self._seconds if self._observed >= _FIRST_ATTEMPTS else None

    def observe(self, seconds: float) -> None:
        """Record the duration of an attempt, or a lower bound."""
        self._observed += 1
        if self._observed <= _FIRST_ATTEMPTS:
            self._seconds = max(self._seconds, seconds)
        elif seconds > self._seconds:
            self._seconds *= math.exp(_STEP * (1 - self._slow_share))
        else:
            self._seconds *= math.exp(-_STEP * self._slow_share)


class FailBackup:
    """Make a second attempt elsewhere if the first one is slow. The first answer wins; the other attempt is cancelled.

    Second attempts need an idempotent method and count in the client's retry budget. Other calls are tried as by
    `FailOver`. For a method that returns a stream, the first message counts as the answer. A method that receives a
    stream is tried once. A SyncClient refuses this mode, since its threads make one attempt at a time.

    Args:
        delay: seconds after which the second attempt is made; None: the time within which 95 % of the method's calls
            end.
        retries: the number of attempts after failures, as in `FailOver`.
    """

    #: True, as concurrent attempts need an event loop.
    needs_loop = True

    def __init__(
        self, delay: float | None = None, retries: int = 3, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if delay is not None and not is_duration(delay, zero=True):
            raise ConfigError(f"delay is {delay!r}, it must be a number of seconds, or None")
        self.delay = delay
        self.retries = check_retries(retries)
        self.clock = clock
        self._limits: dict[str, SlowLimit] = {}

    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the first answer, or raise the last error."""
        if not call.is_idempotent or call.kind not in _HEDGED or call.inside_retry:
            return await try_elsewhere(call, pick, attempt, self.retries)
        return await _Race(self, call, pick, attempt).run()

    def limit_of(self, method: str) -> SlowLimit:
        """Return the time limit of a method."""
        limit = self._limits.get(method)
        if limit is None:
            if len(self._limits) >= _MOST_METHODS:
                method = ""
            limit = self._limits.setdefault(method, SlowLimit())
        return limit


class _Race:
    """The attempts of one call, which may run concurrently."""

    def __init__(self, mode: FailBackup, call: AttemptedCall, pick: Pick, attempt: Attempt) -> None:
        self._call = call
        self._pick = pick
        self._attempt = attempt
        self._attempts = Attempts(call, mode.retries)
        self._clock = mode.clock
        self._limit = mode.limit_of(call.method)
        self._delay = self._limit.seconds if mode.delay is None else mode.delay
        # Only the first attempt is measured: later attempts exist only if it is slow.
        self._started = self._clock()
        self._first = self._start()
        self._running = [self._first]

    async def run(self) -> Any:
        """Return the first answer, or raise the last error."""
        delay = self._wait_seconds()
        try:
            while True:
                done, _ = await asyncio.wait(
                    self._running, timeout=delay, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    if not await self._has_answer():
                        delay = self._wait_seconds()
                        if delay == 0.0:
                            self._hedge()
                            delay = None
                    continue
                ended = [future for future in self._running if future in done]
                self._running = [future for future in self._running if future not in done]
                # Retrieve all errors: otherwise asyncio would log an error that ends together with an answer.
                errors = [_error_of(future) for future in ended]
                for future, error in zip(ended, errors, strict=True):
                    if error is None:
                        return future.result()
                await self._go_on(cast(list[BaseException], errors))
        finally:
            await self._stop()

    def _wait_seconds(self) -> float | None:
        """Return the seconds until the second attempt; None if there is to be no second attempt."""
        if self._delay is None:
            return None
        left = self._delay - (self._clock() - self._started)
        return max(left, _TIMER_SECONDS) if left > 0.0 else 0.0

    async def _has_answer(self) -> bool:
        """Return whether an attempt has ended by now.

        A loop that was blocked runs timers before it reads received bytes. So let it read first, and let the attempt
        handle the bytes.
        """
        for _ in range(2):
            await asyncio.sleep(0)
        return any(future.done() for future in self._running)

    def _start(self) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._contained(self._pick()))

    async def _contained(self, endpoint: Endpoint) -> Any:
        """Make an attempt in a task. Contain exceptions such as SystemExit, which would end the loop."""
        with contained("an attempt"):
            return await self._attempt(endpoint)

    def _hedge(self) -> None:
        """Start a second attempt if the budget allows it and there is an endpoint for it."""
        if not self._call.retry_policy.budget.take():
            return
        try:
            self._running.append(self._start())
            count_retry("hedge")
        except UnavailableError:
            return  # The first attempt continues and decides the outcome.

    async def _go_on(self, errors: list[BaseException]) -> None:
        """Start another attempt if all have failed, or raise the last error."""
        for error in errors:
            if not isinstance(error, Exception):
                raise error
            self._attempts.note(error)
        if self._running:
            return
        last = cast(Exception, errors[-1])
        pause = self._attempts.after(last)
        if pause is None:
            raise self._attempts.final(last)
        if pause:
            await self._call.sleep(pause)
        try:
            self._running.append(self._start())
        except UnavailableError as unavailable:
            raise self._attempts.final(last) from unavailable

    async def _stop(self) -> None:
        """Cancel the running attempts, and wait for their end, which takes one iteration of the loop."""
        self._observe_first()
        for future in self._running:
            future.cancel()
        if self._running:
            await asyncio.wait(self._running)
            for future in self._running:
                # Retrieve the error, which asyncio would log otherwise.
                _error_of(future)

    def _observe_first(self) -> None:
        """Record the duration of the first attempt, or a lower bound if that already exceeds the limit."""
        seconds = self._clock() - self._started
        if self._first.done():
            # A successful attempt ends the call immediately, so `seconds` is its duration.
            if not self._first.cancelled() and self._first.exception() is None:
                self._limit.observe(seconds)
        elif self._limit.seconds is not None and seconds > self._limit.seconds:
            self._limit.observe(seconds)


def _error_of(future: asyncio.Future[Any]) -> BaseException | None:
    """Return the error of an attempt that has ended; None after an answer or a cancellation."""
    return None if future.cancelled() else future.exception()

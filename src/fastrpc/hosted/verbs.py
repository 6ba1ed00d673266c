"""Run the requests ("verbs") of a backend: repeat them if that is safe, until the caller's deadline."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

from fastrpc._core.calls.call import scope_deadline
from fastrpc.errors import FastRPCError, copied_error
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["PATIENCE_SECONDS", "Verbs", "pause_asked_by", "pauses", "seconds_left"]

T = TypeVar("T")

#: Seconds for a verb whose caller has no deadline.
PATIENCE_SECONDS: Final = 5.0


class Verbs:
    """Runs the verbs of one kind of backend.

    Args:
        failure: the class of the backend's errors.
    """

    def __init__(self, failure: type[FastRPCError]) -> None:
        self._failure = failure

    async def finish(
        self,
        verb: str,
        work: Callable[[], Awaitable[T]],
        *,
        writes: bool = False,
        idempotent: bool = False,
        ends_in_time: bool = False,
        repeat: Callable[[float], Awaitable[T]] | None = None,
    ) -> T:
        """Run a verb and return its result. Repeat a read; repeat a write only if the backend did nothing.

        Args:
            verb: the name of the verb in error texts.
            idempotent: whether a write that may have arrived can be repeated, since the backend executes it only once.
            ends_in_time: whether an attempt ends by itself before the deadline.
            repeat: called instead of `work` after an attempt that may have arrived, with the seconds since the first
                attempt.

        Raises:
            FastRPCError: of the class `failure`: the backend refuses the verb, or the deadline has passed; `processed`
                is "unknown" if a write may have arrived.
        """
        if not ends_in_time:
            left = seconds_left()
            seconds = PATIENCE_SECONDS if left is None else left
            return await _Attempts(self._failure, verb, seconds, writes, idempotent).run(
                work, seconds, repeat
            )
        # Avoid a timer of the loop, which takes longer than the rest of the client's work for a call.
        began = time.monotonic()
        try:
            return await work()
        except self._failure as error:
            first = began, error
        return await self.go_on(first, verb, work, writes=writes, idempotent=idempotent, repeat=repeat)

    async def go_on(
        self,
        first: tuple[float, FastRPCError],
        verb: str,
        work: Callable[[], Awaitable[T]],
        *,
        writes: bool = False,
        idempotent: bool = False,
        repeat: Callable[[float], Awaitable[T]] | None = None,
    ) -> T:
        """Continue a verb whose first attempt has failed. Other arguments and errors are the same as for `finish`.

        Args:
            first: the start of the first attempt, by `time.monotonic`, and its error.
        """
        began, error = first
        deadline = scope_deadline()
        seconds = PATIENCE_SECONDS if deadline is None else max(deadline - began, 0.0)
        left = max(seconds - (time.monotonic() - began), 0.0)
        attempts = _Attempts(self._failure, verb, seconds, writes, idempotent)
        attempts.note(error, left)
        return await attempts.run(work, left, repeat)


class _Attempts:
    """The attempts of one verb within its time limit. For the arguments see `Verbs`."""

    def __init__(
        self, failure: type[FastRPCError], verb: str, seconds: float, writes: bool, idempotent: bool
    ) -> None:
        self._failure = failure
        self._verb = verb
        self._seconds = seconds
        self._writes = writes
        self._idempotent = idempotent
        # `_latest`: the error of the latest attempt. `_may_have_arrived`: any attempt may have reached the backend.
        self._latest: FastRPCError | None = None
        self._may_have_arrived = False

    async def run(
        self, work: Callable[[], Awaitable[T]], left: float, repeat: Callable[[float], Awaitable[T]] | None
    ) -> T:
        """Attempt the verb for at most `left` seconds. For the arguments see `Verbs.finish`."""
        is_under_way = False
        wait = pauses()
        now = asyncio.get_running_loop().time
        end = now() + left
        try:
            async with time_limit(left) as limit:
                while True:
                    if self._latest is not None:
                        await asyncio.sleep(max(wait(), pause_asked_by(self._latest)))
                    try:
                        is_under_way = True
                        if repeat is not None and self._may_have_arrived:
                            return await repeat(self._seconds - (end - now()))
                        return await work()
                    except self._failure as error:
                        is_under_way = False
                        self.note(error, end - now())
        except TimeoutError:
            if not limit.expired():
                raise
            reason = "" if self._latest is None else f": {self._latest.message}"
            raise self._failure(
                f"{self._verb} did not end within {self._seconds:.3g} s{reason}",
                status=Status.DEADLINE_EXCEEDED,
                processed="unknown" if self._writes and (is_under_way or self._may_have_arrived) else "no",
                hint=None if self._latest is None else self._latest.hint,
            ) from self._latest

    def note(self, error: FastRPCError, left: float) -> None:
        """Record the error of an attempt. Return if another attempt may follow.

        Raises:
            FastRPCError: no other attempt may follow.
        """
        is_safe = not self._writes or self._idempotent or error.processed == "no"
        if not (error.retryable and is_safe) or 0 < left < pause_asked_by(error):
            final = self._final(error)
            if final is error:
                raise error
            raise final from error
        self._latest = error
        self._may_have_arrived = self._may_have_arrived or error.processed != "no"

    def _final(self, error: FastRPCError) -> FastRPCError:
        """Return the final error of the verb from the error of the last attempt."""
        processed = error.processed
        if self._writes and self._may_have_arrived and processed == "no":
            processed = "unknown"
        if error.status is Status.DEADLINE_EXCEEDED:
            # The attempt ended by itself at the deadline.
            return self._failure(
                f"{self._verb} did not end within {self._seconds:.3g} s: {error.message}",
                status=Status.DEADLINE_EXCEEDED,
                processed=processed if self._writes else "no",
                retryable=error.retryable,
                hint=error.hint,
            )
        if processed == error.processed:
            return error
        told = cast(FastRPCError, copied_error(error))
        told.processed = processed
        return told


def pause_asked_by(error: FastRPCError) -> float:
    """Return the seconds that the backend asks to wait before the next attempt."""
    return getattr(error, "retry_after", None) or 0.0


def seconds_left() -> float | None:
    """Return the seconds until the caller's deadline, 0 after it; None without a deadline."""
    deadline = scope_deadline()
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def pauses() -> Callable[[], float]:
    """Return a function that returns the next pause between attempts in seconds. Pauses grow up to a second."""
    longest = 0.05

    def pause() -> float:
        nonlocal longest
        seconds = longest * random.uniform(0.5, 1.0)
        longest = min(longest * 2, 1.0)
        return seconds

    return pause

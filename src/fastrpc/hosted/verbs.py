"""The end of each verb of a backend: within the caller's deadline, repeated until then where that is safe."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fastrpc._core.calls.call import scope_deadline
from fastrpc.errors import FastRPCError
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["PATIENCE_SECONDS", "Verbs", "is_away", "pauses", "seconds_left"]

T = TypeVar("T")

#: Seconds for a verb without a deadline of its caller.
PATIENCE_SECONDS: Final = 5.0


class Verbs:
    """The verbs of one kind of backend, whose failures are of one class.

    Args:
        failure: the class.
    """

    def __init__(self, failure: type[FastRPCError]) -> None:
        self._failure = failure

    async def finish(
        self, verb: str, work: Callable[[], Awaitable[T]], *, writes: bool = False, ends_in_time: bool = False
    ) -> T:
        """Return the result of a verb; a read is repeated, a write only if the backend did nothing.

        Args:
            verb: names it in the error.
            ends_in_time: whether an attempt ends within the time by itself.

        Raises:
            FastRPCError: of the class of failures. The backend refuses the verb, or the time is over; `processed` is
                "unknown" if a write may have arrived.
        """
        left = seconds_left()
        seconds = PATIENCE_SECONDS if left is None else left
        if not ends_in_time:
            return await self._repeat(verb, work, writes, seconds, seconds, None)
        # A timer of the loop takes longer than the other work of the client for a call.
        began = time.monotonic()
        try:
            return await work()
        except self._failure as error:
            if not _may_repeat(error, writes):
                self._check_overdue(verb, error, writes, seconds)
                raise
            failure = error
        left = max(seconds - (time.monotonic() - began), 0.0)
        return await self._repeat(verb, work, writes, seconds, left, failure)

    async def _repeat(
        self,
        verb: str,
        work: Callable[[], Awaitable[T]],
        writes: bool,
        seconds: float,
        left: float,
        failure: FastRPCError | None,
    ) -> T:
        """Attempt a verb until its time is over: `left` of `seconds`; `failure` is the error of an earlier attempt."""
        is_under_way = False
        wait = pauses()
        try:
            async with time_limit(left) as limit:
                while True:
                    if failure is not None:
                        await asyncio.sleep(wait())
                    try:
                        is_under_way = True
                        return await work()
                    except self._failure as error:
                        is_under_way = False
                        if not _may_repeat(error, writes):
                            self._check_overdue(verb, error, writes, seconds)
                            raise
                        failure = error
        except TimeoutError:
            if not limit.expired():
                raise
            reason = "" if failure is None else f": {failure.message}"
            raise self._failure(
                f"{verb} did not end within {seconds:.3g} s{reason}",
                status=Status.DEADLINE_EXCEEDED,
                processed="unknown" if writes and is_under_way else "no",
            ) from failure

    def _check_overdue(self, verb: str, error: FastRPCError, writes: bool, seconds: float) -> None:
        """Raise the error of a verb whose attempt ended by itself at its deadline; do nothing for other errors."""
        if error.status is Status.DEADLINE_EXCEEDED:
            raise self._failure(
                f"{verb} did not end within {seconds:.3g} s: {error.message}",
                status=Status.DEADLINE_EXCEEDED,
                processed=error.processed if writes else "no",
                retryable=error.retryable,
            ) from error


def _may_repeat(error: FastRPCError, writes: bool) -> bool:
    return error.retryable and (not writes or error.processed == "no")


def seconds_left() -> float | None:
    """Return the seconds until the caller's deadline, 0 after it; None without one."""
    deadline = scope_deadline()
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def pauses() -> Callable[[], float]:
    """Return a function that gives the seconds of each pause between attempts: longer each time, up to a second."""
    longest = 0.05

    def pause() -> float:
        nonlocal longest
        seconds = longest * random.uniform(0.5, 1.0)
        longest = min(longest * 2, 1.0)
        return seconds

    return pause


def is_away(error: FastRPCError) -> bool:
    """Return whether the backend may answer the same request later."""
    return error.retryable or error.status is Status.DEADLINE_EXCEEDED

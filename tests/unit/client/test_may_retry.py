"""Which failed calls are handed to their fail mode: those it could try again, and in an outage hardly any."""

import asyncio
import itertools
from typing import Any, cast

import pytest

from fastrpc.client.call_runner import may_retry
from fastrpc.errors import (
    CallError,
    ConnectionLostError,
    DeadlineExceededError,
    FastRPCError,
    OverloadedError,
    UnavailableError,
)
from fastrpc.failmodes import FailBackup, FailFast, FailMode, FailOver, FailTry
from fastrpc.status import Status
from tests.support.attempts import FakeCall, Script, policy

ERRORS = [
    CallError(Status.NOT_FOUND, "no"),
    CallError(Status.UNAVAILABLE, "later", retry_after=0.01),
    CallError(Status.UNAVAILABLE, "later", retry_after=0.01, processed="no"),
    ConnectionLostError("it broke"),
    ConnectionLostError("it broke before", processed="no", retryable=True),
    DeadlineExceededError("late"),
    OverloadedError("full"),
    UnavailableError("it drains"),
]

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error!r}-{error.processed}")


async def tries_again(mode: FailMode, call: FakeCall, error: FastRPCError) -> bool:
    """Return whether a fail mode itself makes another attempt."""
    script = Script(error, "answer")
    await asyncio.gather(mode.run(call, script.pick, script.attempt), return_exceptions=True)
    return len(script.tried) > 1


@pytest.mark.parametrize("mode", [FailFast(), FailOver(), FailTry()], ids=["fast", "over", "try"])
async def test_exactly_the_errors_that_the_mode_would_retry_are_handed_over(mode: FailMode) -> None:
    for error, room, idempotent in itertools.product(ERRORS, (0, 5), (False, True)):
        call = FakeCall(idempotent=idempotent, policy=policy(share=0, per_second=room))
        handed_over = may_retry(cast(Any, call), error, mode)
        assert handed_over is await tries_again(mode, call, error), (error, room, idempotent)


@each_error
def test_call_inside_a_retry_is_not_handed_over(error: FastRPCError) -> None:
    assert not may_retry(cast(Any, FakeCall(inside_retry=True)), error, FailOver())


class OwnRun(FailOver):
    async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
        return await attempt(pick())


@pytest.mark.parametrize("mode", [FailBackup(), OwnRun()], ids=["backup", "own"])
def test_other_modes_run_with_any_budget(mode: FailMode) -> None:
    call = FakeCall(policy=policy(share=0, per_second=0))
    assert may_retry(cast(Any, call), OverloadedError("full"), mode)

"""Hedging: the time of a second attempt, the winner, the cancelled one, and the gain."""

import asyncio
import gc
import random
from typing import Any

import pytest

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, ConnectionLostError, OverloadedError, UnavailableError
from fastrpc.failmodes import FailBackup
from fastrpc.failmodes.failbackup import SlowLimit
from tests.support.attempts import FakeCall, Script, policy

LOST = ConnectionLostError


class Hanging:
    """Attempts that end when the test says so."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.ends: list[asyncio.Future[Any]] = []
        self.picks = 0

    def pick(self) -> Endpoint:
        self.picks += 1
        return Endpoint(f"memory://{chr(96 + self.picks)}")

    async def attempt(self, endpoint: Endpoint) -> Any:
        name = endpoint.address.path
        self.started.append(name)
        end = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        try:
            return await end
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    async def has_started(self, count: int) -> None:
        while len(self.started) < count:
            await asyncio.sleep(0)


async def hedged(call: FakeCall, attempts: Hanging) -> tuple[asyncio.Task[Any], Hanging]:
    """Start a call and return it once it made its second attempt."""
    task = asyncio.ensure_future(FailBackup(0.0).run(call, attempts.pick, attempts.attempt))
    await attempts.has_started(2)
    return task, attempts


@pytest.mark.parametrize("winner", [0, 1])
def test_first_answer_of_two_wins_and_the_other_is_cancelled(winner: int) -> None:
    async def main() -> None:
        task, attempts = await hedged(FakeCall(), Hanging())
        attempts.ends[winner].set_result(winner)
        assert await task == winner
        assert attempts.cancelled == ["ab"[1 - winner]]

    asyncio.run(main())


@pytest.mark.parametrize("first", [0, 1])
def test_failure_of_one_leaves_the_other_running(first: int) -> None:
    async def main() -> None:
        task, attempts = await hedged(FakeCall(), Hanging())
        attempts.ends[first].set_exception(LOST("it broke"))
        await asyncio.sleep(0)
        attempts.ends[1 - first].set_result(42)
        assert await task == 42
        assert attempts.cancelled == []

    asyncio.run(main())


@pytest.mark.parametrize("winner", [0, 1])
def test_failure_in_the_turn_of_the_answer_is_not_reported(winner: int) -> None:
    reports: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, facts: reports.append(facts))
        task, attempts = await hedged(FakeCall(), Hanging())
        attempts.ends[winner].set_result(42)
        attempts.ends[1 - winner].set_exception(LOST("it broke"))
        assert await task == 42
        del task, attempts
        gc.collect()

    asyncio.run(main())
    assert reports == []


def test_pause_that_a_refusal_asked_for_holds_when_the_other_attempt_fails() -> None:
    async def main() -> None:
        call = FakeCall()
        task, attempts = await hedged(call, Hanging())
        attempts.ends[1].set_exception(OverloadedError("full", retry_after=5.0))
        await asyncio.sleep(0)
        # By itself this failure would be followed by another attempt at once.
        attempts.ends[0].set_exception(UnavailableError("it drains", processed="no", retryable=True))
        await attempts.has_started(3)
        attempts.ends[2].set_result(42)
        assert await task == 42
        assert call.pauses == [5.0]

    asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 10])
def test_when_both_fail_the_error_names_both(turns: int) -> None:
    async def main() -> None:
        call = FakeCall(policy=policy(share=0, per_second=1))
        task, attempts = await hedged(call, Hanging())
        attempts.ends[0].set_exception(LOST("it broke"))
        for _ in range(turns):
            await asyncio.sleep(0)
        attempts.ends[1].set_exception(OverloadedError("full"))
        with pytest.raises(OverloadedError) as raised:
            await task
        assert raised.value.processed == "unknown"

    asyncio.run(main())


def test_cancelling_the_call_cancels_both() -> None:
    async def main() -> None:
        task, attempts = await hedged(FakeCall(), Hanging())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(attempts.cancelled) == ["a", "b"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [
        FakeCall(idempotent=False),
        FakeCall(kind="client_stream"),
        FakeCall(kind="both_ways"),
        FakeCall(inside_retry=True),
        FakeCall(policy=policy(share=0, per_second=0)),
    ],
    ids=["not idempotent", "client stream", "both ways", "inside a retry", "no budget"],
)
def test_no_second_attempt_is_made(call: FakeCall) -> None:
    async def main() -> None:
        attempts = Hanging()
        task = asyncio.ensure_future(FailBackup(0.0).run(call, attempts.pick, attempts.attempt))
        for _ in range(20):
            await asyncio.sleep(0)
        assert attempts.started == ["a"]
        attempts.ends[0].set_result(42)
        assert await task == 42

    asyncio.run(main())


def test_second_attempt_counts_against_the_budget() -> None:
    async def main() -> None:
        call = FakeCall()
        task, attempts = await hedged(call, Hanging())
        attempts.ends[0].set_result(42)
        await task
        assert call.retry_policy.budget.retries == 1

    asyncio.run(main())


def test_without_delay_no_call_is_hedged_before_the_method_has_a_latency() -> None:
    mode = FailBackup()
    assert mode.limit_of("arith.mul").seconds is None
    for _ in range(10):
        script = Script(42)
        assert asyncio.run(mode.run(FakeCall(), script.pick, script.attempt)) == 42
    assert mode.limit_of("arith.mul").seconds is not None
    assert mode.limit_of("arith.add").seconds is None


def test_methods_beyond_a_thousand_share_a_limit() -> None:
    mode = FailBackup()
    limits = {id(mode.limit_of(str(number))) for number in range(1_100)}
    assert len(limits) == 1_001


@pytest.mark.parametrize("delay", [-1, "1", True, float("inf")])
def test_wrong_delay_is_refused(delay: Any) -> None:
    with pytest.raises(ConfigError, match="delay"):
        FailBackup(delay)


@pytest.mark.parametrize("slow_seconds", [0.05, 2.0])
def test_limit_settles_where_one_in_twenty_passes(slow_seconds: float) -> None:
    source = random.Random(3)
    limit = SlowLimit()
    passed = []
    for number in range(6_000):
        # 1 % are slow; after a third all take four times as long.
        seconds = slow_seconds if source.random() < 0.01 else source.uniform(0.001, 0.002)
        seconds *= 4 if number > 2_000 else 1
        if limit.seconds is not None:
            passed.append(seconds > limit.seconds)
            seconds = min(seconds, limit.seconds * 1.5)  # What is slow is cut short by the second attempt.
        limit.observe(seconds)
    for part in (passed[1_000:2_000], passed[2_500:4_000], passed[4_000:]):
        assert 0.02 < sum(part) / len(part) < 0.08


def test_hedging_cuts_the_slowest_hundredth_with_few_extra_attempts() -> None:
    source = random.Random(7)

    def attempt_seconds() -> float:
        return 0.1 if source.random() < 0.01 else source.uniform(0.001, 0.002)

    limit, plain, hedged, extra = SlowLimit(), [], [], 0
    for _ in range(20_000):
        first = attempt_seconds()
        plain.append(first)
        if limit.seconds is not None and first > limit.seconds:
            extra += 1
            first = min(first, limit.seconds + attempt_seconds())
        limit.observe(first)
        hedged.append(first)
    p99 = [sorted(times)[int(0.991 * len(times))] for times in (plain, hedged)]
    assert p99[1] <= 0.3 * p99[0]
    assert extra <= 0.1 * len(plain)

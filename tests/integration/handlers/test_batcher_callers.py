"""Callers of `fastrpc.Batcher` that leave, other loops and processes, and many callers at once."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

import fastrpc
from tests.conftest import Scale
from tests.support.batching import Doubling, is_idle
from tests.support.forking import in_child
from tests.support.waiting import eventually

# Callers that leave


async def test_cancelled_caller_leaves_a_waiting_batch() -> None:
    doubling = Doubling(is_open=False)
    batcher = fastrpc.Batcher(doubling.run)
    running = asyncio.create_task(batcher(0))
    await eventually(lambda: doubling.batches)
    calls = [asyncio.create_task(batcher(item)) for item in (1, 2, 3)]
    await eventually(lambda: len(batcher._lines[None]._waiting) == 3)
    calls[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[1]
    doubling.gate.set()
    assert [await call for call in (running, calls[0], calls[2])] == [0, 2, 6]
    assert doubling.batches == [[0], [1, 3]]


async def test_waiting_batch_without_callers_never_runs() -> None:
    doubling = Doubling()
    batcher = fastrpc.Batcher(doubling.run, wait=1_000)
    call = asyncio.create_task(batcher(1))
    await eventually(lambda: batcher._lines)
    call.cancel()
    await eventually(lambda: is_idle(batcher))
    assert doubling.batches == []


@pytest.mark.parametrize("seconds", [0.0, 1_000.0])
async def test_batcher_with_a_forgotten_timer_is_not_idle(seconds: float) -> None:
    """`is_idle` of these tests sees the remaining callbacks of every kind of loop."""
    batcher = fastrpc.Batcher(Doubling().run, wait=1_000)
    call = asyncio.create_task(batcher(1))
    await eventually(lambda: batcher._lines)
    line = batcher._lines[None]
    call.cancel()
    await asyncio.wait([call])
    assert is_idle(batcher)
    forgotten = asyncio.get_running_loop().call_later(seconds, line._begin)
    assert not batcher._lines
    assert not is_idle(batcher)
    forgotten.cancel()
    assert is_idle(batcher)


async def test_running_batch_is_cancelled_when_all_callers_have_left() -> None:
    doubling = Doubling(is_open=False)
    batcher = fastrpc.Batcher(doubling.run)
    calls = [asyncio.create_task(batcher(item)) for item in range(3)]
    await eventually(lambda: doubling.batches)
    for call in calls[:2]:
        call.cancel()
    await asyncio.wait(calls[:2])
    await asyncio.sleep(0)
    assert doubling.ends == []
    calls[2].cancel()
    await eventually(lambda: is_idle(batcher))
    assert doubling.ends == ["cancelled"]


async def test_thread_that_all_callers_have_left_ends_before_the_next_batch() -> None:
    gate, batches = threading.Event(), list[list[int]]()

    def run(items: list[int]) -> list[int]:
        batches.append(items)
        assert gate.wait(20)
        return items

    batcher = fastrpc.Batcher(run)
    left = asyncio.create_task(batcher(1))
    await eventually(lambda: batches)
    left.cancel()
    await asyncio.wait([left])
    second = asyncio.create_task(batcher(2))
    await eventually(lambda: batcher._lines[None]._waiting)
    assert batches == [[1]]
    gate.set()
    assert await second == 2
    assert batches == [[1], [2]]


async def test_error_of_a_run_without_callers_is_reported_by_asyncio() -> None:
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    begun = asyncio.Event()

    async def run(items: list[int]) -> list[int]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on the way out")

    batcher = fastrpc.Batcher(run)
    call = asyncio.create_task(batcher(1))
    await begun.wait()
    call.cancel()
    await eventually(lambda: reports)
    assert str(reports[0]["exception"]) == "on the way out"
    assert is_idle(batcher)


# Loops and processes


def echo(items: list[int]) -> list[int]:
    return items


@pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_batcher_of_a_closed_loop_is_refused_by_another_one(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    batcher = fastrpc.Batcher(echo)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(batcher(1)) == 1
    with asyncio.Runner(loop_factory=make_loop) as runner:
        with pytest.raises(RuntimeError, match=r"this Batcher belongs to .* make one for each loop"):
            runner.run(batcher(1))


def test_batcher_used_before_a_fork_is_refused_in_the_child() -> None:
    used, unused = fastrpc.Batcher(echo), fastrpc.Batcher(echo)
    with asyncio.Runner() as runner:
        assert runner.run(used(1)) == 1

    def use() -> None:
        with asyncio.Runner() as runner:
            assert runner.run(unused(1)) == 1
            with pytest.raises(
                RuntimeError, match="this Batcher was used before the fork; create it in the child"
            ):
                runner.run(used(1))

    in_child(use)


# Many callers


class OwnedResults:
    """A batcher whose run checks order and keys of its items, and fails now and then."""

    def __init__(self, chance: random.Random) -> None:
        self.batcher: fastrpc.Batcher[int, tuple[int, int]] = fastrpc.Batcher(self._run, size=8, key=self.key)
        self._chance = chance
        self._running: set[int] = set()
        self._last: dict[int, int] = {}

    @staticmethod
    def key(item: int) -> int:
        return item % 5

    async def _run(self, items: list[int]) -> list[tuple[int, int] | Exception]:
        (key,) = set(map(self.key, items))
        assert items == sorted(items)
        assert items[0] > self._last.get(key, -1)
        self._last[key] = items[-1]
        assert key not in self._running
        self._running.add(key)
        try:
            for _ in range(self._chance.randrange(3)):
                await asyncio.sleep(0)
            if self._chance.random() < 0.05:
                raise LookupError
            return [ValueError(item, key) if item % 7 == 0 else (item, key) for item in items]
        finally:
            self._running.remove(key)

    async def call(self, item: int) -> str:
        with fastrpc.timeout(self._chance.choice([None, 0.0, 5.0])):
            try:
                found = await self.batcher(item)
            except LookupError:
                return "failed"
            except ValueError as error:
                return "refused" if (item % 7, error.args) == (0, (item, item % 5)) else f"{error} for {item}"
        return "done" if found == (item, item % 5) else f"{found} for {item}"


async def test_each_caller_gets_its_own_result_under_random_failures(scale: Scale) -> None:
    """Cancels, deadlines, errors and keys at random: a caller gets the outcome of its own item."""
    chance = scale.random(35)
    owned = OwnedResults(chance)
    tasks: list[asyncio.Task[str]] = []
    for item in range(scale.inputs(100_000)):
        tasks.append(asyncio.create_task(owned.call(item)))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
        if chance.random() < 0.4:
            chance.choice(tasks[-20:]).cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert set(map(_end, ends)) == {"done", "failed", "refused", "cancelled"}
    await eventually(lambda: is_idle(owned.batcher))


def _end(outcome: str | BaseException) -> str:
    return "cancelled" if isinstance(outcome, asyncio.CancelledError) else str(outcome)


@pytest.mark.measures
async def test_64_callers_get_20_times_the_rate_of_one_by_one() -> None:
    async def run(items: list[int]) -> list[int]:
        await asyncio.sleep(0.005)
        return items

    batcher = fastrpc.Batcher(run)
    rounds = 20

    async def repeat() -> None:
        for number in range(rounds):
            assert await batcher(number) == number

    started = time.perf_counter()
    await repeat()
    alone = rounds / (time.perf_counter() - started)
    started = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(64)))
    together = 64 * rounds / (time.perf_counter() - started)
    assert together >= 20 * alone

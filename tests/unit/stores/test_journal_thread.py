"""The thread of a journal: calls in their order, and the end of each reported in the loop of its caller."""

import asyncio
import threading

import pytest

from fastrpc.stores.local.journal_thread import JournalThread
from tests.support.waiting import eventually


async def test_calls_run_one_after_the_other_in_one_thread_and_end_in_the_loop() -> None:
    thread = JournalThread("journal")
    threads: list[str] = []
    ends: list[tuple[int | None, BaseException | None, threading.Thread]] = []

    def called(number: int) -> int:
        threads.append(threading.current_thread().name)
        return number

    for number in range(100):
        thread.call(
            lambda number=number: called(number),
            lambda result, error: ends.append((result, error, threading.current_thread())),
        )
    assert await thread.result(lambda: called(100)) == 100
    assert ends == [(number, None, threading.current_thread()) for number in range(100)]
    assert threads == ["journal"] * 101
    thread.end()


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
async def test_an_exception_is_reported_and_ends_neither_thread_nor_loop(raised: BaseException) -> None:
    thread = JournalThread("journal")
    ends: list[BaseException | None] = []

    def fail() -> None:
        raise raised

    thread.call(fail, lambda result, error: ends.append(error))
    assert await thread.result(lambda: "next") == "next"
    assert ends == [raised]
    thread.end()


async def test_the_error_of_a_call_is_raised_where_its_result_is_awaited() -> None:
    thread = JournalThread("journal")

    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await thread.result(fail)
    thread.end()


async def test_a_cancelled_wait_leaves_its_call_and_the_later_ones_under_way() -> None:
    thread = JournalThread("journal")
    may_go_on, done = threading.Event(), threading.Event()

    def held() -> None:
        assert may_go_on.wait(20.0)
        done.set()

    first = thread.result(held)
    second = thread.result(done.is_set)
    first.cancel()
    may_go_on.set()
    assert await second
    thread.end()


async def test_the_thread_ends_after_its_calls() -> None:
    thread = JournalThread("ending journal")
    results = [thread.result(lambda number=number: number) for number in range(3)]
    thread.end()
    assert await asyncio.gather(*results) == [0, 1, 2]
    await eventually(lambda: all(one.name != "ending journal" for one in threading.enumerate()))


def test_a_loop_that_has_closed_ends_no_thread() -> None:
    thread = JournalThread("journal")
    may_go_on = threading.Event()

    async def leave_a_call_behind() -> None:
        thread.call(lambda: may_go_on.wait(20.0), lambda result, error: None)

    async def call_again() -> int:
        return await thread.result(lambda: 7)

    asyncio.run(leave_a_call_behind())
    may_go_on.set()
    assert asyncio.run(call_again()) == 7
    thread.end()

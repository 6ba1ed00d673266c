"""When the polls of a loop returned: known exactly where turns are long, and never before they did."""

import asyncio
import time

from fastrpc._core.loop.poll_clock import PollClock
from fastrpc_harness.alarm import arm, dated
from tests.support.waiting import eventually


def held(milliseconds: float) -> None:
    until = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < until:
        pass


async def test_an_idle_loop_is_not_marked() -> None:
    assert not PollClock(asyncio.get_running_loop()).is_armed


async def test_a_marked_loop_rests_after_short_turns() -> None:
    polls = PollClock(asyncio.get_running_loop())
    arm(polls, time.monotonic_ns())
    assert polls.is_armed
    await eventually(lambda: not polls.is_armed)


async def test_what_is_read_in_the_first_turn_came_with_its_poll() -> None:
    polls = PollClock(asyncio.get_running_loop())
    since = time.monotonic_ns()
    arm(polls, since, is_read=True)
    assert dated(polls, time.monotonic_ns()) == since


async def test_what_is_read_in_the_next_turn_came_after_the_poll_before() -> None:
    polls = PollClock(asyncio.get_running_loop())
    since = time.monotonic_ns()
    arm(polls, since, is_read=True)
    held(2)
    await asyncio.sleep(0)
    assert polls.is_armed
    assert dated(polls, time.monotonic_ns()) == since


async def test_a_turn_without_a_read_is_dated_as_late_as_it_may_have_polled() -> None:
    loop = asyncio.get_running_loop()
    polls = PollClock(loop)
    since = time.monotonic_ns()
    arm(polls, since)
    held(2)
    behind = time.monotonic_ns()
    await asyncio.sleep(0)
    # Callbacks of asyncio run behind the poll of their turn, those of uvloop before it.
    assert polls.before_ns == since if isinstance(loop, asyncio.BaseEventLoop) else polls.before_ns >= behind


async def test_to_mark_a_closed_loop_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    polls = PollClock(loop)
    loop.close()
    arm(polls, time.monotonic_ns())
    assert not polls.is_armed

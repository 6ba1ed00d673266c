"""Objects that a loop can wake: by default they ignore it."""

import asyncio
import gc
import sys
import time
import weakref

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.loop.loop_state import loop_state
from fastrpc_harness.alarm import Alarm, join_spinner, leave_spinner, start_timer, stop_timer, touch_spinner


async def test_an_object_that_overrides_nothing_may_be_woken() -> None:
    state = loop_state(asyncio.get_running_loop())
    rung = asyncio.Event()
    timed, behind = Timed(), Alarm(rung.set)
    now = time.monotonic_ns()
    start_timer(state, timed, now)
    start_timer(state, behind, now)
    await rung.wait()
    assert state.live_timers == 0


async def test_an_object_that_overrides_nothing_has_no_data_for_a_spinning_loop() -> None:
    state = loop_state(asyncio.get_running_loop())
    timed = Timed()
    join_spinner(state)
    touch_spinner(state, timed, time.monotonic_ns() + 10**10)
    while state.spinner is None or state.spinner.rounds < 2:
        await asyncio.sleep(0)
    leave_spinner(state, timed)


async def test_a_running_timer_keeps_its_object() -> None:
    state = loop_state(asyncio.get_running_loop())
    rung = asyncio.Event()
    start_timer(state, Alarm(rung.set), time.monotonic_ns() + 10**7)
    gc.collect()
    await rung.wait()


async def test_a_stopped_timer_releases_its_object() -> None:
    state = loop_state(asyncio.get_running_loop())
    timed = Timed()
    before = sys.getrefcount(timed)
    start_timer(state, timed, time.monotonic_ns() + 10**12)
    assert sys.getrefcount(timed) == before + 1
    start_timer(state, timed, time.monotonic_ns() + 10**13)
    assert sys.getrefcount(timed) == before + 1
    stop_timer(state, timed)
    stop_timer(state, timed)
    assert sys.getrefcount(timed) == before


def test_objects_with_running_timers_go_with_their_loop() -> None:
    class Noted:
        def wake(self) -> None: ...

    loop = asyncio.new_event_loop()
    noted = Noted()
    gone = weakref.ref(noted)
    start_timer(loop_state(loop), Alarm(noted.wake), time.monotonic_ns() + 10**12)
    loop.close()
    del noted, loop
    gc.collect()
    assert gone() is None

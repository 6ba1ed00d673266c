"""The common state of a loop's connections: one state, one timer of the loop for all timers, a watch for stalls."""

import asyncio
import gc
import sys
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.loop.loop_state import LoopState, loop_state, no_loop, states, wrong_loop
from fastrpc_harness.alarm import Alarm, start_timer, stop_timer, watch

MILLISECOND = 1_000_000
FAR = 10**12


class ManualLoop:
    """A loop that runs nothing by itself: tests inspect its scheduled callbacks, and call them."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[..., Any], SimpleNamespace]] = []
        self.soon: list[tuple[Any, ...]] = []
        self.reports: list[dict[str, Any]] = []

    def call_soon(self, *call: Any, **options: Any) -> None:
        self.soon.append(call)

    def call_at(self, when: float, callback: Callable[..., Any], **options: Any) -> SimpleNamespace:
        handle = SimpleNamespace(cancelled=False)
        handle.cancel = lambda: setattr(handle, "cancelled", True)
        self.timers.append((when, callback, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reports.append(context)

    @property
    def armed(self) -> list[float]:
        """When the timers are due that were not cancelled."""
        return [when for when, _, handle in self.timers if not handle.cancelled]


def fired(state: LoopState) -> None:
    """Fire as the loop does, twice: the first time may only let the sockets be read first."""
    state.fire()
    state.fire()


def manual() -> tuple[ManualLoop, LoopState]:
    loop = ManualLoop()
    return loop, LoopState(loop)  # type: ignore[arg-type]


async def test_a_loop_has_one_state() -> None:
    loop = asyncio.get_running_loop()
    assert loop_state(loop) is loop_state(loop)
    assert loop_state(loop).loop is loop


def test_a_state_goes_with_its_last_user() -> None:
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop_state(loop))
    gc.collect()
    assert gone() is None
    loop.close()


def test_a_loop_at_the_place_of_another_one_has_a_separate_state() -> None:
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    state = loop_state(other)
    states[id(loop)] = state
    try:
        assert loop_state(loop) is not state
    finally:
        loop.close()
        other.close()


def test_timers_wake_their_objects_in_the_order_they_are_due() -> None:
    _, state = manual()
    woken: list[str] = []
    now = time.monotonic_ns()
    for name, due_ns in (
        ("second", now - 5 * MILLISECOND),
        ("first", now - 50 * MILLISECOND),
        ("not yet", now + FAR),
    ):
        start_timer(state, Alarm(lambda name=name: woken.append(name)), due_ns)
    assert state.live_timers == 3
    fired(state)
    assert woken == ["first", "second"]
    assert state.live_timers == 1


def test_one_timer_of_the_loop_drives_all() -> None:
    loop, state = manual()
    now = time.monotonic_ns()
    for number in range(100):
        start_timer(state, Alarm(), now + FAR + number * MILLISECOND)
    assert len(loop.armed) == 1
    # A millisecond late: a timer of the loop that fires early would find nothing due.
    assert loop.armed[0] == pytest.approx((now + FAR) / 1e9 + 0.001, abs=1e-4)


def test_an_earlier_timer_replaces_the_armed_one() -> None:
    loop, state = manual()
    now = time.monotonic_ns()
    start_timer(state, Alarm(), now + FAR)
    start_timer(state, Alarm(), now + FAR // 2)
    assert loop.armed == [pytest.approx((now + FAR // 2) / 1e9 + 0.001, abs=1e-4)]


def test_a_loop_is_left_alone_while_nothing_is_due() -> None:
    loop, state = manual()
    assert loop.timers == []
    start_timer(state, Alarm(), time.monotonic_ns() - 50 * MILLISECOND)
    fired(state)
    assert loop.armed == []


def test_a_timer_that_was_moved_fires_once_at_its_new_time() -> None:
    _, state = manual()
    woken: list[None] = []
    alarm = Alarm(lambda: woken.append(None))
    start_timer(state, alarm, time.monotonic_ns() + FAR)
    start_timer(state, alarm, time.monotonic_ns() - 50 * MILLISECOND)
    assert state.live_timers == 1
    fired(state)
    fired(state)
    assert woken == [None]


def test_a_timer_that_was_stopped_never_fires() -> None:
    _, state = manual()
    woken: list[None] = []
    alarm = Alarm(lambda: woken.append(None))
    start_timer(state, alarm, time.monotonic_ns() - 50 * MILLISECOND)
    stop_timer(state, alarm)
    fired(state)
    assert woken == []
    assert state.live_timers == 0


def test_an_object_that_is_woken_may_start_its_timer_again() -> None:
    _, state = manual()
    woken: list[int] = []

    def wake() -> None:
        woken.append(state.live_timers)
        if len(woken) < 3:
            start_timer(state, alarm, time.monotonic_ns() - 50 * MILLISECOND)

    alarm = Alarm(wake)
    start_timer(state, alarm, time.monotonic_ns() - 50 * MILLISECOND)
    fired(state)
    assert len(woken) == 3


def test_a_timer_whose_object_fails_is_reported_and_the_others_continue() -> None:
    loop, state = manual()
    woken: list[str] = []

    def fail() -> None:
        raise ValueError("no more")

    now = time.monotonic_ns()
    start_timer(state, Alarm(fail), now - 50 * MILLISECOND)
    start_timer(state, Alarm(lambda: woken.append("other")), now - 50 * MILLISECOND)
    fired(state)
    assert woken == ["other"]
    assert [str(report["exception"]) for report in loop.reports] == ["no more"]


def test_after_a_stall_the_sockets_are_read_before_a_timer_fires() -> None:
    loop, state = manual()
    woken: list[None] = []
    # Due so long ago that the loop must have been blocked meanwhile.
    start_timer(state, Alarm(lambda: woken.append(None)), time.monotonic_ns() - 1_000 * MILLISECOND)
    state.fire()
    assert woken == []
    assert len(loop.soon) == 1
    # As the loop does: the callback schedules the firing after the events of the sockets.
    again, *arguments = loop.soon.pop()
    again(*arguments)
    state.fire()
    assert woken == [None]


def test_a_watched_loop_ticks_for_a_while_and_then_rests() -> None:
    loop, state = manual()
    assert (state.seen_ns, state.calm_until_ns) == (0, 0)
    now = time.monotonic_ns()
    watch(state, now)
    assert state.seen_ns == now
    assert state.calm_until_ns > now
    # The watch's own timer is no timer that somebody waits for.
    assert state.live_timers == 0
    assert len(loop.armed) == 1


def test_a_watch_ends_when_nothing_happened_for_a_second() -> None:
    loop, state = manual()
    watch(state, time.monotonic_ns() - 1_100 * MILLISECOND)
    fired(state)
    assert state.calm_until_ns == 0
    assert loop.armed == []


def test_a_tick_says_that_the_loop_runs() -> None:
    _, state = manual()
    now = time.monotonic_ns()
    watch(state, now - 100 * MILLISECOND)
    fired(state)
    assert state.seen_ns >= now
    assert state.calm_until_ns > state.seen_ns


def test_without_a_loop_the_error_names_the_way_without_one() -> None:
    assert str(no_loop("Client")) == "a Client needs a running event loop; use SyncClient without one"
    assert str(no_loop("Server")) == "a Server needs a running event loop; write asyncio.run(main())"


def test_under_trio_the_error_names_the_thread_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    trio = SimpleNamespace(lowlevel=SimpleNamespace(in_trio_run=lambda: True))
    monkeypatch.setitem(sys.modules, "trio", trio)
    assert "trio.to_thread.run_sync" in str(no_loop("Client"))
    trio.lowlevel.in_trio_run = lambda: False
    assert "trio" not in str(no_loop("Client"))


def test_the_error_of_a_foreign_loop_distinguishes_loops_of_one_class() -> None:
    own, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        text = str(wrong_loop("Client", own, other))
        assert f"{id(own):#x}" in text
        assert f"{id(other):#x}" in text
        assert "make one for each loop" in text
    finally:
        own.close()
        other.close()

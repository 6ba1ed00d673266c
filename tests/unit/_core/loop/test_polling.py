"""The polls of a loop: their instants, spinning, and the bell by which threads end them."""

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.loop.polling import Bell, PollClock, Spinner, ThreadGate, allowed_spin
from fastrpc_harness.alarm import Alarm, arm, dated, join_spinner, leave_spinner, touch_spinner
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


async def test_bytes_read_in_the_first_turn_arrived_with_its_poll() -> None:
    polls = PollClock(asyncio.get_running_loop())
    since = time.monotonic_ns()
    arm(polls, since, is_read=True)
    assert dated(polls, time.monotonic_ns()) == since


async def test_bytes_read_in_the_next_turn_arrived_after_the_previous_poll() -> None:
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
    # Callbacks of asyncio run after the poll of their turn, callbacks of uvloop before it.
    assert polls.before_ns == since if isinstance(loop, asyncio.BaseEventLoop) else polls.before_ns >= behind


async def test_to_mark_a_closed_loop_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    polls = PollClock(loop)
    loop.close()
    arm(polls, time.monotonic_ns())
    assert not polls.is_armed


FAR = 10**12


class ManualLoop:
    """A loop whose callbacks are called by hand."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], Any]] = []
        self.closed = False

    def call_soon(self, callback: Callable[[], Any], **options: Any) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.soon.append(callback)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        pytest.fail(str(context))

    def is_closed(self) -> bool:
        return self.closed

    def turn(self) -> None:
        """Run the callbacks that are scheduled now."""
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


def spinning(*alarms: Alarm) -> tuple[ManualLoop, LoopState, Spinner]:
    """Return a loop on which each of these takes part, the last one having been busy last."""
    loop = ManualLoop()
    state = LoopState(loop)  # type: ignore[arg-type]
    for alarm in alarms:
        join_spinner(state)
        touch_spinner(state, alarm, time.monotonic_ns() + FAR)
    assert state.spinner is not None
    return loop, state, state.spinner


def test_activity_keeps_the_loop_awake() -> None:
    loop, _, spinner = spinning(Alarm())
    assert spinner.is_armed
    for rounds in range(1, 4):
        loop.turn()
        assert spinner.rounds == rounds
        assert len(loop.soon) == 1


def test_many_connections_share_one_callback() -> None:
    loop, _, spinner = spinning(*(Alarm() for _ in range(10)))
    assert spinner.sessions == 10
    assert len(loop.soon) == 1


def test_the_loop_sleeps_when_nothing_came_for_long_enough() -> None:
    loop = ManualLoop()
    state = LoopState(loop)  # type: ignore[arg-type]
    join_spinner(state)
    touch_spinner(state, Alarm(), time.monotonic_ns() - 1)
    loop.turn()
    assert state.spinner is not None
    assert not state.spinner.is_armed
    assert loop.soon == []
    assert state.spinner.rounds == 0


def test_new_activity_wakes_a_spinner_that_sleeps() -> None:
    loop, state, spinner = spinning(Alarm())
    leave_spinner(state, Alarm())
    loop.turn()
    assert not spinner.is_armed
    join_spinner(state)
    touch_spinner(state, Alarm(), time.monotonic_ns() + FAR)
    assert spinner.is_armed


def test_activity_never_shortens_the_spinning_of_other_connections() -> None:
    loop, state, spinner = spinning(Alarm())
    touch_spinner(state, Alarm(), time.monotonic_ns() - 1)
    loop.turn()
    assert spinner.is_armed


def test_the_loop_looks_at_the_connection_that_was_busy_last() -> None:
    looks: list[str] = []

    def looked(name: str) -> Callable[[], bool]:
        return lambda: bool(looks.append(name))

    loop, _, _ = spinning(Alarm(spin=looked("first")), Alarm(spin=looked("last")))
    loop.turn()
    loop.turn()
    assert looks == ["last", "last"]


def test_a_connection_that_left_is_not_looked_at() -> None:
    looks: list[None] = []
    gone = Alarm(spin=lambda: bool(looks.append(None)))
    loop, state, spinner = spinning(Alarm(), gone)
    leave_spinner(state, gone)
    loop.turn()
    assert looks == []
    assert spinner.sessions == 1
    assert spinner.is_armed


def test_the_loop_sleeps_once_all_left() -> None:
    alarm = Alarm()
    loop, state, spinner = spinning(alarm)
    leave_spinner(state, alarm)
    loop.turn()
    assert not spinner.is_armed
    assert loop.soon == []


def test_a_look_that_fails_does_not_end_the_spinning() -> None:
    def fail() -> bool:
        raise ValueError("no socket")

    loop, _, spinner = spinning(Alarm(spin=fail))
    with pytest.raises(ValueError, match="no socket"):
        loop.turn()
    assert spinner.is_armed
    assert len(loop.soon) == 1


def test_a_loop_that_was_closed_is_left_alone() -> None:
    loop, state, spinner = spinning(Alarm())
    loop.closed = True
    loop.turn()
    assert not spinner.is_armed
    touch_spinner(state, Alarm(), time.monotonic_ns() + FAR)
    assert not spinner.is_armed


@pytest.mark.parametrize("cores", [2, 64, None])
def test_a_machine_with_several_cores_may_spin(monkeypatch: pytest.MonkeyPatch, cores: int | None) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    if cores is None:
        with pytest.warns(RuntimeWarning, match="one core"):
            assert allowed_spin(50) == 0
    else:
        assert allowed_spin(50) == 50


def test_a_machine_with_one_core_may_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with pytest.warns(RuntimeWarning, match="one core") as warned:
        assert allowed_spin(50, stacklevel=1) == 0
    assert len(warned) == 1
    assert allowed_spin(0) == 0


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_gate_opened_before_the_wait_lets_one_through() -> None:
    gate = ThreadGate()
    gate.open()
    assert gate.wait(0)
    assert not gate.wait(0)


def test_closed_gate_ends_the_wait_in_time() -> None:
    assert not ThreadGate().wait(0.001)


def test_gate_wakes_a_thread_that_waits_without_limit() -> None:
    gate = ThreadGate()
    passed: Future[bool] = Future()
    thread = threading.Thread(target=lambda: passed.set_result(gate.wait(-1)))
    thread.start()
    gate.open()
    assert passed.result(10)
    thread.join()


def test_threads_take_turns_through_two_gates() -> None:
    there, back = ThreadGate(), ThreadGate()
    turns: list[int] = []

    def answer() -> None:
        for turn in range(200):
            there.wait(-1)
            turns.append(turn)
            back.open()

    thread = threading.Thread(target=answer)
    thread.start()
    for turn in range(200):
        there.open()
        assert back.wait(10)
        assert turns[-1] == turn
    thread.join()


def test_bell_is_readable_between_ring_and_answer() -> None:
    bell = Bell()
    assert not is_readable(bell.descriptor)
    bell.ring()
    bell.ring()
    assert is_readable(bell.descriptor)
    bell.answer()
    assert not is_readable(bell.descriptor)
    bell.answer()


def test_waiting_rings_on_the_way() -> None:
    gate, bell = ThreadGate(), Bell()
    gate.open()
    assert gate.wait(-1, bell)
    assert is_readable(bell.descriptor)


def test_ringing_a_bell_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "eventfd", raising=False)
    bell = Bell()
    for _ in range(20_000):
        bell.ring()
    while is_readable(bell.descriptor):
        bell.answer()


@pytest.mark.parametrize("has_eventfd", [True, False])
def test_descriptors_live_as_long_as_the_bell(monkeypatch: pytest.MonkeyPatch, has_eventfd: bool) -> None:
    if not has_eventfd:
        monkeypatch.delattr(os, "eventfd", raising=False)
    before = set(os.listdir("/proc/self/fd"))
    bell = Bell()
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1 + (not has_eventfd)
    assert not os.get_inheritable(bell.descriptor)
    del bell
    assert set(os.listdir("/proc/self/fd")) <= before


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        ThreadGate().wait(0, "bell")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ThreadGate().wait(None)  # type: ignore[arg-type]

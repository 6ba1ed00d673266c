"""Spinning: a loop is kept awake after activity, looks at the last busy connection, and sleeps again."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.loop.spinner import Spinner, allowed_spin
from fastrpc_harness.alarm import Alarm, join_spinner, leave_spinner, touch_spinner

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
        """Run what is scheduled now."""
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


def test_activity_never_shortens_the_spinning_of_others() -> None:
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

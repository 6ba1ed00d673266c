"""Gates and bells: waiting threads, woken loops."""

import os
import select
import threading
from concurrent.futures import Future

import pytest

from fastrpc._core.base.thread_gate import Bell, ThreadGate


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


def test_bell_never_blocks_however_often_it_is_rung(monkeypatch: pytest.MonkeyPatch) -> None:
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

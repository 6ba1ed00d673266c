"""The signal for one task: set before its wait, during it, and with a wait that was cancelled."""

import asyncio

from fastrpc.brokers.remote.task_signal import TaskSignal


async def test_signal_that_was_set_ends_the_next_wait_at_once() -> None:
    signal = TaskSignal()
    signal.set()
    assert signal.wait().done()


async def test_signal_ends_the_wait_of_its_task_until_it_is_cleared() -> None:
    signal = TaskSignal()
    waiting = signal.wait()
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.set()
    signal.set()
    await waiting
    assert signal.wait().done()
    signal.clear()
    assert not signal.wait().done()


async def test_signal_after_a_cancelled_wait_ends_the_next_one() -> None:
    signal = TaskSignal()
    signal.wait().cancel()
    signal.set()
    await signal.wait()

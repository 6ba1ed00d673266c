"""What only happens between two steps of two threads of the pool, brought about by hand."""

import select
import threading
import time

import pytest

from fastrpc._core.loop.polling import Bell, ThreadGate
from fastrpc.handlers import thread_pool as module
from tests.support.recorded_job import RecordedJob, pool, submit


async def test_thread_about_to_rest_sees_the_job_that_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    async with pool() as workers:
        bell, gate = Bell(), ThreadGate()
        workers._queue[1].append((RecordedJob(), 0.0, False, 1))
        assert workers._rest(gate, bell, True)
        assert workers._idle == []
        assert select.select([bell.descriptor], [], [], 0)[0], "a ring that was owed is lost"
        workers._queue[1].clear()


async def test_thread_that_is_about_to_be_woken_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.001)

    class TakenAtOnce(list[ThreadGate]):
        def append(self, gate: ThreadGate) -> None:
            threading.Timer(0.02, gate.open).start()

    async with pool() as workers:
        workers._idle = TakenAtOnce()
        workers._is_waking = True
        assert workers._rest(ThreadGate(), Bell(), False)
        assert not workers._is_waking


async def test_job_that_comes_while_the_last_thread_ends_gets_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.001)
    first, second = RecordedJob(), RecordedJob()
    submitted = False

    class Slots(list[int]):
        def append(self, slot: int) -> None:
            nonlocal submitted
            super().append(slot)
            if not submitted:
                submitted = True
                workers._queue[1].append((second, time.monotonic(), False, 1))

    async with pool() as workers:
        workers._free = Slots([1])
        submit(workers, first)
        workers._in_flight += 1
        assert await second.end() == ["run", "done"]


async def test_thread_that_became_idle_during_a_search_is_woken() -> None:
    gate = ThreadGate()

    class Searched(RecordedJob):
        @property
        def expired(self) -> bool:
            workers._idle.append(gate)
            return False

        @expired.setter
        def expired(self, value: bool) -> None: ...

    async with pool() as workers:
        workers._queue[1].append((Searched(), time.monotonic(), False, 1))
        assert not workers._make_room(1)
        assert gate.wait(0)
        workers._queue[1].clear()

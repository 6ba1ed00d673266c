"""The thread pool for `def` handlers."""

import asyncio
import contextvars
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc.handlers import thread_pool as module
from fastrpc.handlers.thread_pool import ThreadPool
from tests.support.recorded_job import LONG, BlockedJob, RecordedJob, begun, pool, submit, until


async def test_job_runs_in_a_thread_and_ends_on_the_loop() -> None:
    async with pool() as workers:
        job = RecordedJob()
        threads: list[int] = []
        job.on_done = lambda: threads.append(threading.get_ident())
        submit(workers, job)
        assert await job.end() == ["run", "done"]
        assert job.thread == "fastrpc-worker-1"
        assert threads == [threading.get_ident()]
        assert workers.stats() == {"threads": 1, "idle": 1, "waiting": 0, "in_flight": 0}


async def test_nothing_is_started_before_the_first_job() -> None:
    async with pool(threads=8) as workers:
        assert workers.stats()["threads"] == 0


async def test_jobs_start_in_order_of_arrival() -> None:
    started: list[int] = []
    async with pool() as workers:
        jobs = [RecordedJob(lambda number=number: started.append(number)) for number in range(100)]  # type: ignore[misc]
        submit(workers, *jobs)
        for job in jobs:
            assert await job.end() == ["run", "done"]
    assert started == list(range(100))


async def test_jobs_that_block_get_a_thread_each_up_to_the_limit() -> None:
    barrier = threading.Barrier(8)
    async with pool(threads=8) as workers:
        jobs = [RecordedJob(lambda: barrier.wait(LONG)) for _ in range(16)]
        submit(workers, *jobs)
        for job in jobs:
            assert await job.end() == ["run", "done"]
        assert workers.stats()["threads"] == 8
        assert {job.thread for job in jobs} == {f"fastrpc-worker-{number}" for number in range(1, 9)}


async def test_no_more_threads_run_than_allowed() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0)  # Lets other threads run.
        with lock:
            running -= 1

    async with pool(threads=3, queue_length=500) as workers:
        jobs = [RecordedJob(work) for _ in range(500)]
        submit(workers, *jobs)
        for job in jobs:
            await job.end()
    assert most <= 3


async def test_results_that_are_ready_at_the_same_time_are_collected_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collections = 0
    collect = ThreadPool._collect

    def counted(workers: ThreadPool) -> None:
        nonlocal collections
        collections += 1
        collect(workers)

    monkeypatch.setattr(ThreadPool, "_collect", counted)
    async with pool(queue_length=1_000) as workers:
        first = BlockedJob()
        jobs = [RecordedJob() for _ in range(1_000)]
        submit(workers, first, *jobs)
        first.released.set()
        for job in jobs:
            await job.end()
    assert collections < 500


async def test_expired_job_never_starts() -> None:
    async with pool() as workers:
        first, second, third = BlockedJob(), RecordedJob(), RecordedJob()
        submit(workers, first, second, third)
        second.expired = True
        first.released.set()
        assert await third.end() == ["run", "done"]
        assert await second.end() == ["refuse", "done"]


async def test_job_above_the_queue_is_refused_naming_the_limits() -> None:
    async with pool(threads=1, queue_length=2) as workers:
        first, *waiting, excess = BlockedJob(), RecordedJob(), RecordedJob(), RecordedJob()
        submit(workers, first, *waiting, excess)
        assert await excess.end() == ["refuse", "done"]
        assert "all 1 threads are busy (Admission.handler_threads)" in excess.reason
        assert "2 calls wait (Admission.queue_length)" in excess.reason
        first.released.set()
        for job in waiting:
            assert await job.end() == ["run", "done"]


async def test_queue_of_length_zero_takes_as_many_jobs_as_threads() -> None:
    async with pool(threads=2, queue_length=0) as workers:
        running = [BlockedJob(), BlockedJob()]
        excess = RecordedJob()
        submit(workers, *running, excess)
        assert await excess.end() == ["refuse", "done"]
        for job in running:
            job.released.set()
            assert await job.end() == ["run", "done"]
        again = RecordedJob()
        submit(workers, again)
        assert await again.end() == ["run", "done"]


async def test_abandoned_jobs_make_room_in_a_full_queue() -> None:
    async with pool(threads=1, queue_length=3) as workers:
        first, dead, alive = BlockedJob(), [RecordedJob(), RecordedJob()], RecordedJob()
        submit(workers, first, dead[0], alive, dead[1])
        for job in dead:
            job.expired = True
        newcomer = RecordedJob()
        submit(workers, newcomer)
        for job in dead:
            assert await job.end() == ["refuse", "done"]
        first.released.set()
        assert await alive.end() == ["run", "done"]
        assert await newcomer.end() == ["run", "done"]


async def test_job_that_waited_too_long_is_refused_although_no_thread_is_free() -> None:
    async with pool(queue_age=0.02) as workers:
        first, second, third = BlockedJob(), RecordedJob(), RecordedJob()
        first = await begun(workers, first)
        submit(workers, second)
        assert await second.end() == ["refuse", "done"]
        assert second.reason == "no thread was free for 0.02 s (Admission.queue_age)"
        submit(workers, third)
        assert await third.end() == ["refuse", "done"]
        first.released.set()
        assert await first.end() == ["run", "done"]


async def test_younger_jobs_stay_when_older_ones_are_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    async with pool(queue_age=5) as workers:
        first, old, young = BlockedJob(), RecordedJob(), RecordedJob()
        submit(workers, first, old)
        await until(first.started.is_set)
        now += 4
        submit(workers, young)
        now += 2
        workers._drop_aged()
        assert await old.end() == ["refuse", "done"]
        first.released.set()
        assert await young.end() == ["run", "done"]


async def test_thread_does_not_start_a_job_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    async with pool(queue_age=5) as workers:
        first, old = BlockedJob(), RecordedJob()
        submit(workers, first, old)
        await until(first.started.is_set)
        now += 6
        first.released.set()
        assert await old.end() == ["refuse", "done"]
        assert "Admission.queue_age" in old.reason


async def test_streams_take_at_most_half_of_the_threads() -> None:
    async with pool(threads=4) as workers:
        streams = [BlockedJob() for _ in range(4)]
        submit(workers, *streams, stream=True)
        await until(lambda: streams[0].started.is_set() and streams[1].started.is_set())
        call = RecordedJob()
        submit(workers, call)
        assert await call.end() == ["run", "done"]
        assert not streams[2].started.is_set()
        streams[0].released.set()
        await until(streams[2].started.is_set)
        assert not streams[3].started.is_set()
        for stream in streams:
            stream.released.set()
        for stream in streams:
            assert await stream.end() == ["run", "done"]
        assert workers.stats()["in_flight"] == 0


async def test_one_thread_still_serves_streams() -> None:
    async with pool(threads=1) as workers:
        jobs = [RecordedJob() for _ in range(3)]
        submit(workers, *jobs, stream=True)
        for job in jobs:
            assert await job.end() == ["run", "done"]


async def test_waiting_streams_age_and_leave_no_place_behind() -> None:
    async with pool(threads=2, queue_age=0.02) as workers:
        first, second = BlockedJob(), RecordedJob()
        first = await begun(workers, first, stream=True)
        submit(workers, second, stream=True)
        assert await second.end() == ["refuse", "done"]
        first.released.set()
        await first.end()
        third = await begun(workers, BlockedJob(), stream=True)
        third.released.set()
        assert await third.end() == ["run", "done"]


async def test_expired_stream_gives_its_place_to_the_next() -> None:
    async with pool(threads=2) as workers:
        blocked = [BlockedJob(), BlockedJob()]
        first, second = RecordedJob(), RecordedJob()
        submit(workers, *blocked)
        submit(workers, first, second, stream=True)
        first.expired = True
        for job in blocked:
            job.released.set()
        assert await first.end() == ["refuse", "done"]
        assert await second.end() == ["run", "done"]


async def test_neither_threads_nor_results_inherit_the_context_of_a_call() -> None:
    variable = contextvars.ContextVar("variable", default="untouched")
    seen: list[str] = []
    variable.set("of the first call")
    async with pool() as workers:
        job = RecordedJob(lambda: seen.append(variable.get()))
        job.on_done = lambda: seen.append(variable.get())
        submit(workers, job)
        await job.end()
        refused = RecordedJob()
        refused.on_done = lambda: seen.append(variable.get())
        workers.close()
        submit(workers, refused)
        await refused.end()
    assert seen == ["untouched"] * 3


async def test_idle_thread_keeps_no_job_alive() -> None:
    async with pool() as workers:
        job = RecordedJob()
        submit(workers, job)
        await job.end()
        await until(lambda: workers.stats()["idle"] == 1)
        gone = weakref.ref(job)
        del job
        gc.collect()
        assert gone() is None


async def test_idle_threads_end_and_new_ones_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    barrier = threading.Barrier(3)
    async with pool(threads=3) as workers:
        for _ in range(3):
            jobs = [RecordedJob(lambda: barrier.wait(LONG)) for _ in range(3)]
            submit(workers, *jobs)
            for job in jobs:
                assert await job.end() == ["run", "done"]
            await until(lambda: workers.stats()["threads"] == 0)
            assert workers.stats()["idle"] == 0


async def test_jobs_that_arrive_while_threads_end_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.000_1)
    chance = random.Random(4)
    async with pool(threads=3) as workers:
        for _ in range(300):
            jobs = [RecordedJob() for _ in range(chance.randrange(1, 4))]
            submit(workers, *jobs)
            for job in jobs:
                assert await job.end() == ["run", "done"]
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)


async def test_close_refuses_queued_jobs_and_lets_running_ones_finish() -> None:
    async with pool() as workers:
        running, waiting, stream = BlockedJob(), RecordedJob(), RecordedJob()
        submit(workers, running, waiting, stream)
        await until(running.started.is_set)
        workers.close()
        workers.close()
        assert workers.is_closed
        assert await waiting.end() == ["refuse", "done"]
        assert waiting.reason == "the server is closing"
        late = RecordedJob()
        submit(workers, late)
        assert await late.end() == ["refuse", "done"]
        running.released.set()
        assert await running.end() == ["run", "done"]
        await workers.wait_closed()
        assert workers.stats() == {"threads": 0, "idle": 0, "waiting": 0, "in_flight": 0}


async def test_close_can_wait_for_running_jobs() -> None:
    async with pool() as workers:

        def work() -> None:
            while not workers.is_closed:
                time.sleep(0)

        job = RecordedJob(work)
        submit(workers, job)
        await until(lambda: bool(job.events))
        workers.close(wait=True)
        assert job.events == ["run", "done"]


async def test_pool_that_did_nothing_closes_at_once() -> None:
    workers = ThreadPool(threads=1, queue_length=0, queue_age=1, loop=asyncio.get_running_loop())
    workers.close(wait=True)
    async with asyncio.timeout(LONG):
        await workers.wait_closed()


def test_thread_that_outlives_its_loop_ends_quietly(loop_factory: Callable[[], Any]) -> None:
    job: BlockedJob

    async def main() -> ThreadPool:
        nonlocal job
        job = BlockedJob()
        workers = ThreadPool(threads=1, queue_length=0, queue_age=1, loop=asyncio.get_running_loop())
        submit(workers, job)
        await until(job.started.is_set)
        workers.close()
        return workers

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        workers = runner.run(main())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "fastrpc-worker-1")
    job.released.set()
    thread.join(LONG)
    assert not thread.is_alive()
    assert job.events == ["run"]
    workers.close()


@pytest.mark.parametrize("name", ["done", "refuse"])
async def test_error_of_a_job_is_reported_and_other_jobs_run(name: str) -> None:
    def fail(*_: object) -> None:
        raise ValueError("bad job")

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with pool() as workers:
        first, bad, last = BlockedJob(), RecordedJob(), RecordedJob()
        bad.expired = name == "refuse"
        setattr(bad, name, fail)
        submit(workers, first, bad, last)
        first.released.set()
        assert await last.end() == ["run", "done"]
        await until(lambda: workers.stats()["in_flight"] == 0)
    assert [str(report["exception"]) for report in reports] == ["bad job"]


async def test_error_that_a_job_lets_through_ends_the_job_and_not_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise SystemExit(3)

    async with pool() as workers:
        bad, last = RecordedJob(fail), RecordedJob()
        submit(workers, bad, last)
        assert await bad.end() == ["run", "done"]
        assert await last.end() == ["run", "done"]
        assert bad.thread == last.thread
    assert "raised from Job.run" in caplog.text


async def test_system_without_threads_left_is_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with pool(queue_age=0.02) as workers:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            job = RecordedJob()
            submit(workers, job)
            assert await job.end() == ["refuse", "done"]
        assert "can't start new thread" in caplog.text
        again = await begun(workers, BlockedJob())
        again.released.set()
        assert await again.end() == ["run", "done"]


async def test_every_job_ends_exactly_once(scale: Callable[[int], int]) -> None:
    chance = random.Random(5)
    async with pool(threads=4, queue_length=20, queue_age=0.05) as workers:
        jobs: list[RecordedJob] = []
        for _ in range(scale(400)):
            for _ in range(chance.randrange(20)):
                job = RecordedJob(lambda: time.sleep(0))
                jobs.append(job)
                submit(workers, job, stream=chance.random() < 0.2)
                job.expired = chance.random() < 0.1
            await asyncio.sleep(0)
        for job in jobs:
            await job.end()
        assert workers.stats()["in_flight"] == 0
        assert workers.stats()["waiting"] == 0
    # On a busy machine a job may be too old before a thread looks at it.
    assert {tuple(job.events) for job in jobs} <= {("run", "done"), ("refuse", "done")}


@pytest.mark.measures
async def test_hand_over_is_quick_and_batched() -> None:
    async with pool(threads=32, queue_length=10_000) as workers:
        count = 20_000
        left, ended = count, asyncio.Event()

        class Next:
            expired = False

            def run(self) -> None: ...

            def refuse(self, reason: str) -> None:
                pytest.fail(reason)

            def done(self) -> None:
                nonlocal left
                left -= 1
                if left >= 512:
                    workers.submit(self)
                elif not left:
                    ended.set()

        started = time.perf_counter()
        for _ in range(512):
            workers.submit(Next())
        async with asyncio.timeout(LONG):
            await ended.wait()
        assert count / (time.perf_counter() - started) >= 80_000

"""The order of waiting jobs in the thread pool, and the jobs that make room for others."""

import pytest

from tests.support.recorded_job import BlockedJob, RecordedJob, begun, pool


async def test_jobs_wait_by_priority_and_then_by_arrival() -> None:
    started: list[int] = []
    async with pool() as workers:
        first = await begun(workers, BlockedJob())
        jobs = []
        for number, priority in enumerate((1, 0, 2, 1, 0, 2)):
            jobs.append(RecordedJob(lambda number=number: started.append(number)))  # type: ignore[misc]
            workers.submit(jobs[-1], priority=priority)
        first.released.set()
        for job in jobs:
            assert await job.end() == ["run", "done"]
    assert started == [2, 5, 1, 4, 0, 3]


async def test_streams_wait_for_their_threads_by_priority() -> None:
    started: list[int] = []
    async with pool(threads=2) as workers:
        first = await begun(workers, BlockedJob(), stream=True)
        jobs = []
        for number, priority in enumerate((1, 0, 1, 0)):
            jobs.append(RecordedJob(lambda number=number: started.append(number)))  # type: ignore[misc]
            workers.submit(jobs[-1], stream=True, priority=priority)
        first.released.set()
        for job in jobs:
            assert await job.end() == ["run", "done"]
    assert started == [1, 3, 0, 2]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_last_sheddable_job_makes_room_in_a_full_queue(stream: bool) -> None:
    async with pool(queue_length=2) as workers:
        running = await begun(workers, BlockedJob(), stream=stream)
        early, late, job, excess = (RecordedJob() for _ in range(4))
        for waiting in (early, late):
            workers.submit(waiting, stream=stream, priority=1)
        workers.submit(job, stream=stream)
        assert await late.end() == ["refuse", "done"]
        assert "priority 1" in late.reason
        assert "Admission.queue_length" in late.reason
        workers.submit(excess, stream=stream, priority=1)
        assert await excess.end() == ["refuse", "done"]
        running.released.set()
        assert await job.end() == ["run", "done"]
        assert await early.end() == ["run", "done"]
    assert workers.stats()["in_flight"] == 0


@pytest.mark.parametrize("last_streams", [False, True])
async def test_of_streams_and_other_jobs_the_last_sheddable_one_makes_room(last_streams: bool) -> None:
    async with pool(threads=2, queue_length=2) as workers:
        running = [await begun(workers, BlockedJob(), stream=stream) for stream in (True, False)]
        early, late, job = (RecordedJob() for _ in range(3))
        workers.submit(early, stream=not last_streams, priority=1)
        workers.submit(late, stream=last_streams, priority=1)
        workers.submit(job)
        assert await late.end() == ["refuse", "done"]
        for one in running:
            one.released.set()
        assert await early.end() == ["run", "done"]
        assert await job.end() == ["run", "done"]
    assert workers.stats()["in_flight"] == 0

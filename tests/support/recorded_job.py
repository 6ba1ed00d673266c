"""Jobs for the thread pool that record its calls."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastrpc.handlers.thread_pool import ThreadPool

__all__ = ["LONG", "BlockedJob", "RecordedJob", "begun", "pool", "submit", "until"]

#: Seconds after which something that ought to happen will not.
LONG = 10


class RecordedJob:
    """Notes the pool's calls."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.expired = False
        self.events: list[str] = []
        self.reason = ""
        self.thread = ""
        self.ended = asyncio.Event()
        self.on_done: Callable[[], None] = lambda: None
        self._work = work

    def run(self) -> None:
        self.thread = threading.current_thread().name
        self.events.append("run")
        self._work()

    def refuse(self, reason: str) -> None:
        self.events.append("refuse")
        self.reason = reason

    def done(self) -> None:
        self.events.append("done")
        self.ended.set()
        self.on_done()

    async def end(self) -> list[str]:
        async with asyncio.timeout(LONG):
            await self.ended.wait()
        return self.events


class BlockedJob(RecordedJob):
    """Runs until it is released."""

    def __init__(self) -> None:
        super().__init__(self._block)
        self.started = threading.Event()
        self.released = threading.Event()

    def _block(self) -> None:
        self.started.set()
        assert self.released.wait(LONG)


@asynccontextmanager
async def pool(
    *, threads: int = 1, queue_length: int = 100, queue_age: float = LONG
) -> AsyncIterator[ThreadPool]:
    workers = ThreadPool(
        threads=threads, queue_length=queue_length, queue_age=queue_age, loop=asyncio.get_running_loop()
    )
    try:
        yield workers
    finally:
        workers.close()
        async with asyncio.timeout(LONG):
            await workers.wait_closed()
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("fastrpc-worker")]
        assert names == []


def submit(workers: ThreadPool, *jobs: RecordedJob, stream: bool = False) -> None:
    for job in jobs:
        workers.submit(job, stream=stream)
        assert "done" not in job.events
        assert "refuse" not in job.events


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.001)


async def begun(workers: ThreadPool, job: BlockedJob, *, stream: bool = False) -> BlockedJob:
    """Submit a job and return it once a thread runs it; submit another where the threads came too late for it."""
    while True:
        submit(workers, job, stream=stream)
        await until(lambda tried=job: tried.started.is_set() or tried.ended.is_set())  # type: ignore[misc]
        if job.started.is_set():
            return job
        job = BlockedJob()

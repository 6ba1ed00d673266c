"""Pieces on their way to the disk, with jobs that run when the test says so."""

from collections.abc import Callable
from concurrent.futures import Future

from fastrpc.files.write_behind import HELD_BYTES, HELD_PIECES, WriteBehind


class Desk:
    """Jobs that wait to be run; waiting for one runs it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.blocks = 0
        self.jobs: list[tuple[Callable[[], None], Future[None]]] = []
        self.waits = 0
        self.files = WriteBehind(self._write, self._start, self._wait)

    def _write(self, pieces: list[bytes]) -> None:
        self.written += pieces
        self.blocks += 1

    def _start(self, job: Callable[[], None]) -> Future[None]:
        started: Future[None] = Future()
        self.jobs.append((job, started))
        return started

    async def _wait(self, started: Future[None]) -> None:
        self.waits += 1
        self.run_jobs()
        assert started.done()

    def run_jobs(self) -> None:
        while self.jobs:
            job, started = self.jobs.pop(0)
            job()
            started.set_result(None)


async def test_pieces_that_arrive_while_a_job_writes_are_written_by_that_job() -> None:
    desk = Desk()
    pieces = [bytes([number]) for number in range(100)]
    for piece in pieces:
        await desk.files.put([piece])
    assert len(desk.jobs) == 1
    assert desk.waits == 0
    await desk.files.flush()
    assert desk.written == pieces
    assert desk.blocks == 1


async def test_a_piece_that_comes_as_a_job_ends_is_not_forgotten() -> None:
    desk = Desk()
    await desk.files.put([b"a"])
    job, started = desk.jobs.pop()
    job()
    # The job has found nothing more, and is not over yet.
    await desk.files.put([b"b"])
    assert desk.jobs == []
    started.set_result(None)
    await desk.files.flush()
    assert desk.written == [b"a", b"b"]


async def test_no_more_is_taken_than_may_wait() -> None:
    for piece, count in ((bytes(HELD_BYTES // 4), 4), (b"", HELD_PIECES)):
        desk = Desk()
        for _ in range(count - 1):
            await desk.files.put([piece])
        assert desk.waits == 0
        await desk.files.put([piece])
        assert desk.waits == 1
        assert len(desk.written) == count


async def test_nothing_to_write_starts_no_job() -> None:
    desk = Desk()
    await desk.files.flush()
    assert desk.jobs == []

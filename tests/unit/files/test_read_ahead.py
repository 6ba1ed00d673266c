"""Pieces read ahead, by jobs that run when the test says so, and in a thread."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from fastrpc.files import read_ahead
from fastrpc.files.lane import Lane
from fastrpc.files.read_ahead import PIECES_AHEAD, PIECES_AT_ONCE, SENT_BYTES, Pieces, ReadAhead
from fastrpc.files.reader import PIECE_BYTES

pytestmark = pytest.mark.one_loop


@pytest.fixture(autouse=True)
def turns_of_pieces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no job end early because the machine stalls."""
    monkeypatch.setattr(read_ahead, "TURN_SECONDS", float("inf"))


class Desk:
    """A file of some pieces, and jobs that wait to be run."""

    def __init__(self, pieces: list[bytes], count: Pieces | None = None) -> None:
        self.left = pieces
        self.jobs: list[tuple[Callable[[], None], Future[None]]] = []
        self.ahead = ReadAhead(self.read, self._start, count)

    def read(self) -> bytes:
        if not self.left:
            raise OSError("gone")
        return self.left.pop(0)

    def _start(self, job: Callable[[], None]) -> Future[None]:
        started: Future[None] = Future()
        self.jobs.append((job, started))
        return started

    def run_job(self) -> None:
        (job, started), self.jobs = self.jobs[0], self.jobs[1:]
        try:
            job()
        except OSError as error:
            started.set_exception(error)
        else:
            started.set_result(None)


async def test_no_more_is_read_than_may_lie_ahead() -> None:
    desk = Desk([b"a"] * PIECES_AHEAD + [b"b", b""])
    desk.run_job()
    assert desk.left == [b"b", b""]
    for _ in range(PIECES_AHEAD):
        assert desk.jobs == []
        assert await desk.ahead.take() == b"a"
    # The next job reads while the last piece is sent.
    desk.run_job()
    assert [await desk.ahead.take(), await desk.ahead.take()] == [b"b", b""]
    assert desk.jobs == []


class Count:
    """What a handler counts of its pieces, in order."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.may_read_ahead = False
        self.has_room = True

    def may_hold(self, size: int) -> bool:
        return self.has_room

    def hold(self, size: int) -> None:
        self.held.append(size)


async def test_a_counted_piece_is_counted_before_it_is_read() -> None:
    count = Count()
    desk = Desk([b"a", b"b", b""], count)
    desk.run_job()
    # The first one was counted by whoever made this.
    assert (desk.left, count.held) == ([b"b", b""], [])
    assert await desk.ahead.has_more()
    assert desk.ahead.pop() == b"a"
    # It is sent now, and no piece is read meanwhile.
    assert (count.held, desk.jobs) == ([SENT_BYTES], [])
    follows = asyncio.ensure_future(desk.ahead.has_more())
    await asyncio.sleep(0)
    assert (count.held, desk.left) == ([SENT_BYTES, PIECE_BYTES], [b"b", b""])
    desk.run_job()
    assert await follows
    assert (desk.ahead.pop(), desk.left) == (b"b", [b""])


async def test_nothing_is_read_while_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "NO_ROOM_SECONDS", 0.0)
    count = Count()
    desk = Desk([b"a", b"b"], count)
    desk.run_job()
    assert await desk.ahead.take() == b"a"
    count.has_room = False
    follows = asyncio.ensure_future(desk.ahead.take())
    for _ in range(10):
        await asyncio.sleep(0)
    assert (count.held, desk.jobs) == ([SENT_BYTES], [])
    count.has_room = True
    while not desk.jobs:
        await asyncio.sleep(0)
    desk.run_job()
    assert await follows == b"b"


async def test_one_counted_piece_is_read_ahead_if_memory_allows() -> None:
    count = Count()
    count.may_read_ahead = True
    desk = Desk([b"a", b"b", b"c", b""], count)
    desk.run_job()
    assert desk.left == [b"b", b"c", b""]
    assert await desk.ahead.take() == b"a"
    desk.run_job()
    assert (desk.left, count.held) == ([b"c", b""], [SENT_BYTES + PIECE_BYTES])
    count.may_read_ahead = False
    assert await desk.ahead.take() == b"b"
    assert (desk.jobs, count.held) == ([], [SENT_BYTES + PIECE_BYTES, SENT_BYTES])
    count.may_read_ahead = True
    follows = asyncio.ensure_future(desk.ahead.take())
    await asyncio.sleep(0)
    desk.run_job()
    assert await follows == b"c"
    desk.run_job()
    assert not await desk.ahead.has_more()
    assert desk.jobs == []


async def test_waiters_are_woken_by_a_piece_and_by_the_end_of_a_job() -> None:
    desk = Desk([b"a", b""])
    taking = asyncio.ensure_future(desk.ahead.take())
    await asyncio.sleep(0)
    desk.run_job()
    assert await taking == b"a"
    assert await desk.ahead.take() == b""


async def test_an_error_comes_after_the_pieces_before_it() -> None:
    desk = Desk([b"a"])
    desk.run_job()
    assert await desk.ahead.take() == b"a"
    with pytest.raises(OSError, match="gone"):
        await desk.ahead.take()


async def test_a_thread_reads_all_in_order() -> None:
    pieces = [number.to_bytes(2, "big") for number in range(1_000)]
    left = iter([*pieces, b""])
    with ThreadPoolExecutor(1) as pool:
        ahead = ReadAhead(lambda: next(left), pool.submit)
        taken = []
        while piece := await ahead.take():
            taken.append(piece)
    assert taken == pieces


class SlowFile:
    """A file without an end, whose next piece comes when the last one was taken."""

    def __init__(self) -> None:
        self.taken = 0
        self._may_read = threading.Semaphore()
        self._is_stopped = False

    def read(self) -> bytes:
        self._may_read.acquire()
        return b"" if self._is_stopped else b"a"

    async def take_all(
        self, ahead: ReadAhead, is_enough: Callable[[], bool], stop: Callable[[], None]
    ) -> None:
        while await ahead.take():
            self.taken += 1
            if is_enough():
                stop()
            self._may_read.release()

    def stop(self) -> None:
        self._is_stopped = True
        self._may_read.release()


async def test_slow_files_take_turns_in_the_only_thread() -> None:
    files = [SlowFile(), SlowFile()]

    def is_enough() -> bool:
        return all(file.taken >= 2 * PIECES_AT_ONCE for file in files)

    def stop() -> None:
        for file in files:
            file.stop()

    with ThreadPoolExecutor(1) as pool:
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(
                    *(
                        file.take_all(ReadAhead(file.read, Lane(pool).start), is_enough, stop)
                        for file in files
                    )
                )
        finally:
            stop()
    assert is_enough()


async def test_a_slow_disk_ends_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "TURN_SECONDS", 0.0)
    desk = Desk([b"a", b"b", b""])
    desk.run_job()
    assert desk.left == [b"b", b""]
    assert await desk.ahead.take() == b"a"
    desk.run_job()
    assert await desk.ahead.take() == b"b"

"""The log of a killed store: damage is refused, a torn tail opens, and no revision is given twice."""

import random
import shutil
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from fastrpc import CompactedError, Status, StoreError
from fastrpc.stores.base import Saved
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.stores.sqlite.log import LogEnd, read_log
from tests.conftest import Scale

#: A header of the log, and a frame: its own header and a page.
HEADER_BYTES = 32
FRAME_BYTES = 24 + 4096

ITEMS = 40


async def killed(
    folder: Path, *, items: int = ITEMS, sync: Literal["full", "normal"] = "full", first: int = 0
) -> int:
    """Leave a folder as a killed store does, with items; return the revision of the last one."""
    alive = folder.with_name(f"{folder.name}-alive")
    if folder.exists():
        shutil.rmtree(alive, ignore_errors=True)
        folder.rename(alive)
    async with LocalStore(SqliteJournal(alive, sync=sync)) as store:
        for number in range(first, first + items):
            revision = await store.put(f"k/{number}", b"%d" % number)
        shutil.copytree(alive, folder)
    return revision


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder; SQLite makes the shared memory of the log anew."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def opened(folder: Path, sync: Literal["full", "normal"] = "full") -> Saved | StoreError:
    """Return what a journal finds in a folder, or its refusal, which leaves all files alone."""
    before = contents(folder)
    journal = SqliteJournal(folder, sync=sync)
    try:
        return journal.open()
    except StoreError as error:
        assert contents(folder) == before
        return error
    finally:
        journal.close()


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def frames_of(log: Path) -> int:
    return (log.stat().st_size - HEADER_BYTES) // FRAME_BYTES


def numbers(saved: Saved) -> Sequence[int]:
    return sorted(int(item.value) for item in saved.items)


async def test_no_flipped_bit_of_the_log_loses_an_item_silently(tmp_path: Path, scale: Scale) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    log = folder / "store.db-wal"
    whole = contents(folder)
    bits = 8 * log.stat().st_size
    behind = 8 * (log.stat().st_size - FRAME_BYTES)
    chance = scale.random(1)
    for bit in [0, 40, 100, 170, 250, *(chance.randrange(bits) for _ in range(scale(60)))]:
        log.write_bytes(whole["store.db-wal"])
        flip(log, bit)
        found = opened(folder)
        if bit < behind:
            assert isinstance(found, StoreError), f"bit {bit}"
            assert found.status is Status.DATA_LOSS
            assert "store.db-wal is damaged" in found.message
        elif isinstance(found, Saved):
            # The last frame counts as torn.
            assert found.revision >= latest, f"bit {bit}"
        for name, content in whole.items():
            (folder / name).write_bytes(content)
    found = opened(folder)
    assert isinstance(found, Saved)
    assert (found.revision, numbers(found)) == (latest, [*range(ITEMS)])


@pytest.mark.parametrize("cut", [1, 24, 4095, FRAME_BYTES, FRAME_BYTES + 1, 20 * FRAME_BYTES])
async def test_torn_tail_opens_and_no_revision_comes_twice(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    log = folder / "store.db-wal"
    log.write_bytes(log.read_bytes()[:-cut])
    async with LocalStore(SqliteJournal(folder)) as store:
        kept = [item.key for item in (await store.list("k/")).items]
        assert 0 < len(kept) < ITEMS
        # A watcher that was told of a lost change has to list again.
        with pytest.raises(CompactedError):
            await anext(store.watch("", after=latest))
        revision = await store.put("k/new", b"")
        assert revision > latest
    async with LocalStore(SqliteJournal(folder)) as store:
        assert await store.put("k/new", b"") == revision + 1


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_missing_log_gives_no_revision_twice(
    tmp_path: Path, sync: Literal["full", "normal"], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder, sync=sync)
    (folder / "store.db-wal").unlink()
    async with LocalStore(SqliteJournal(folder, sync=sync)) as store:
        assert await store.put("k", b"") > latest
    assert ("has lost its last commits" in caplog.text) == (sync == "full")


async def test_whole_log_keeps_revision_and_history(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    async with LocalStore(SqliteJournal(folder)) as store:
        changes = store.watch("", after=0)
        assert [(await anext(changes)).revision for _ in range(latest)] == [*range(1, latest + 1)]
        await changes.aclose()
        assert await store.put("k", b"") == latest + 1


async def test_frames_of_an_earlier_log_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    await killed(folder)
    # It begins anew, over the first frames.
    monkeypatch.setattr("fastrpc.stores.sqlite.journal._LOG_BYTES", 1)
    log = tmp_path / "store-alive" / "store.db-wal"
    async with LocalStore(SqliteJournal(tmp_path / "store-alive")) as store:
        for _ in range(10):
            await store.put("long", b"x" * 100_000)
        size = log.stat().st_size
        latest = await store.put("last", b"")
        assert log.stat().st_size == size
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "store-alive", folder)
    end = read_log(folder / "store.db-wal")
    assert 0 < end.frames < frames_of(folder / "store.db-wal")
    assert (end.later, end.has_bad_header) == (0, False)
    found = opened(folder)
    assert isinstance(found, Saved)
    assert (found.revision, len(found.items)) == (latest, ITEMS + 2)


async def test_frames_of_a_commit_that_a_cut_left_are_no_damage_later(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    await killed(folder)
    log, whole = folder / "store.db-wal", (folder / "store.db-wal").read_bytes()
    end = read_log(log)
    # The frames of a last commit that was not synced, the first one torn.
    frame = whole[-FRAME_BYTES:]
    log.write_bytes(whole + bytes(FRAME_BYTES) + frame + frame)
    assert read_log(log) == LogEnd(end.frames, later=2)
    latest = await killed(folder, items=2, first=ITEMS)
    assert latest == ITEMS + 2
    found = opened(folder)
    assert isinstance(found, Saved)
    assert (found.revision, numbers(found)) == (latest, [*range(ITEMS + 2)])


async def test_unsynced_commits_may_be_torn_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder, sync="normal")
    log = folder / "store.db-wal"
    flip(log, 8 * (HEADER_BYTES + 20 * FRAME_BYTES + 1000))
    assert read_log(log).later_commits > 1
    found = opened(folder, "full")
    assert isinstance(found, Saved)
    assert found.revision > latest
    # The frames behind the bad one are gone.
    latest = await killed(folder, items=1)
    found = opened(folder)
    assert isinstance(found, Saved)
    assert found.revision == latest


@pytest.mark.parametrize("bit", [0, 40, 50, 90, 512 * 8 + 3, 512 * 8 + 50])
async def test_damaged_revisions_are_refused(tmp_path: Path, bit: int) -> None:
    folder = tmp_path / "store"
    await killed(folder)
    flip(folder / "store.revisions", bit)
    found = opened(folder)
    assert isinstance(found, StoreError)
    assert "store.revisions is damaged: a checksum is wrong" in found.message


async def test_missing_file_beside_its_revisions_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k", b"")
    (folder / "store.db").unlink()
    found = opened(folder)
    assert isinstance(found, StoreError)
    assert "it is missing beside store.revisions" in found.message
    assert not (folder / "store.db").exists()


async def test_store_without_the_second_file_gets_one(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    (folder / "store.revisions").unlink()
    found = opened(folder)
    assert isinstance(found, Saved)
    assert (found.revision, numbers(found)) == (latest, [*range(ITEMS)])
    assert (folder / "store.revisions").exists()


async def test_revisions_are_reserved_before_the_commit_that_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.stores.sqlite.revisions._BLOCK", 5)
    folder = tmp_path / "store"
    latest = await killed(folder)
    reserved = int.from_bytes((folder / "store.revisions").read_bytes()[6:14], "little")
    assert latest <= reserved <= latest + 5


@pytest.mark.parametrize("magic", [0x377F0682, 0x377F0683])
def test_log_of_either_byte_order_is_read(tmp_path: Path, magic: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(log_of(magic, frames=5))
    assert read_log(path) == LogEnd(5)
    flip(path, 8 * (HEADER_BYTES + FRAME_BYTES))
    assert read_log(path) == LogEnd(1, later=3, later_commits=3)


def log_of(magic: int, frames: int) -> bytes:
    """Return a log whose frames are commits, summed as the format's page has it."""
    order = "<" if magic == 0x377F0682 else ">"
    sums = [0, 0]

    def add(data: bytes) -> bytes:
        for even, odd in struct.iter_unpack(f"{order}2I", data):
            sums[0] = (sums[0] + even + sums[1]) & 0xFFFFFFFF
            sums[1] = (sums[1] + odd + sums[0]) & 0xFFFFFFFF
        return struct.pack(">2I", *sums)

    chance = random.Random(3)
    header = struct.pack(">4I", magic, 3007000, 4096, 0) + chance.randbytes(8)
    log = header + add(header)
    for number in range(1, frames + 1):
        page, place = chance.randbytes(4096), struct.pack(">2I", number, number)
        log += place + header[16:] + add(place + page) + page
    return log


@pytest.mark.measures
def test_long_log_is_read_in_little_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(log_of(0x377F0682, frames=1000) + bytes(60_000 * FRAME_BYTES))
    begin = time.perf_counter()
    assert read_log(path).frames == 1000
    assert time.perf_counter() - begin < 1.0

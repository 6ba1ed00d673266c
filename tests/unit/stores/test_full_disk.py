"""A disk without room: its commits are undone, and the store keeps working."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastrpc import Status, StoreError
from fastrpc.stores.base import ItemChange, LeaseChange, Unchanged, Write
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.testing import FakeClock
from tests.support.waiting import eventually

LONG = b"x" * 256 * 1024


class SmallDisk(SqliteJournal):
    """A journal whose file may have a few pages more, and whose commits wait while they are held."""

    #: Pages that a commit may add; None: any number.
    spare: int | None = 8

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_committing, self.may_commit = threading.Event(), threading.Event()
        self.may_commit.set()

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        self.is_committing.set()
        self.may_commit.wait(20.0)
        connection = self.folder.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {1 << 30 if self.spare is None else pages + self.spare}")
        super().commit(changes, compacted)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    return SmallDisk(tmp_path / "store")


@pytest.fixture
async def store(disk: SmallDisk, clock: FakeClock) -> AsyncIterator[LocalStore]:
    async with LocalStore(disk, clock=clock) as store:
        yield store


def is_full_disk(error: BaseException | object) -> bool:
    return (
        isinstance(error, StoreError)
        and (error.status, error.processed) == (Status.RESOURCE_EXHAUSTED, "no")
        and "disk of the store is full" in error.message
    )


async def test_write_without_room_is_refused_and_the_rest_continues(disk: SmallDisk) -> None:
    async with LocalStore(disk) as store:
        lease = await store.lease(10.0)
        await store.put("k", b"1", lease=lease)
        await store.put("other", b"1")
        changes = store.watch("", after=2)
        with pytest.raises(StoreError) as caught:
            await store.transact([], [Write("k", LONG), Write("more", LONG)])
        assert is_full_disk(caught.value)
        item = await store.get("k")
        assert item is not None
        assert (item.value, item.revision, item.lease) == (b"1", 1, lease)
        assert (await store.list()).revision == 2
        assert await store.renew(lease)
        assert await store.delete("other")
        assert await store.put("k", b"2", expect=1, lease=lease) == 4
        assert [((await anext(changes)).key) for _ in range(2)] == ["other", "k"]
        await changes.aclose()
        disk.spare = None
        assert await store.put("more", LONG) == 5
        assert store.figures()["bytes"] == len("k") + 1 + len("more") + len(LONG)
        before = await store.list()
    async with LocalStore(SqliteJournal(disk.folder.place)) as again:
        assert await again.list() == before


async def test_changes_together_with_one_without_room_are_refused_and_reads_look_again(
    store: LocalStore, disk: SmallDisk
) -> None:
    await store.put("k", b"1")
    disk.is_committing.clear()
    disk.may_commit.clear()
    attempts = [asyncio.ensure_future(store.put("k", LONG))]
    await eventually(disk.is_committing.is_set)
    attempts.append(asyncio.ensure_future(store.put("later", b"", expect=0)))
    attempts.append(asyncio.ensure_future(store.lease(10.0)))
    await asyncio.sleep(0)
    reads = [store.get("k"), store.get("later"), store.transact([Unchanged("k", 1)], [])]
    reading = [asyncio.ensure_future(read) for read in reads]
    await asyncio.sleep(0)
    disk.may_commit.set()
    assert all(is_full_disk(error) for error in await asyncio.gather(*attempts, return_exceptions=True))
    item, later, outcome = await asyncio.gather(*reading)
    assert item is not None
    assert (item.value, later) == (b"1", None)
    assert outcome.succeeded
    assert store.figures() | {"bytes": 0} == {
        "revision": 1,
        "items": 1,
        "bytes": 0,
        "leases": 0,
        "watchers": 0,
    }


async def test_lease_whose_end_has_no_room_starts_again(
    store: LocalStore, disk: SmallDisk, clock: FakeClock
) -> None:
    lease = await store.lease(10)
    await store.put("k", b"1", lease=lease)
    disk.may_commit.clear()
    disk.is_committing.clear()
    writing = asyncio.ensure_future(store.put("long", LONG))
    await eventually(disk.is_committing.is_set)
    clock.advance(10.0)
    store.content.expire()
    reading = asyncio.ensure_future(store.get("k"))
    await asyncio.sleep(0)
    disk.may_commit.set()
    with pytest.raises(StoreError):
        await writing
    item = await reading
    assert item is not None
    clock.advance(9.0)
    assert await store.renew(lease)
    clock.advance(10.0)
    store.content.expire()
    assert await store.get("k") is None


async def test_room_is_asked_once_for_each_commit_and_by_each_write_while_the_disk_is_full(
    store: LocalStore, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, room = 0, 10 * len(LONG)

    def look() -> int:
        nonlocal looks
        looks += 1
        return room

    monkeypatch.setattr(disk, "room", look)
    disk.spare = None
    await asyncio.gather(*(store.put(f"k/{number}", b"1") for number in range(5)))
    # The first write begins a commit, the other writes are the next one.
    assert looks <= 2
    room = 0
    for attempt in range(3):
        before = looks
        with pytest.raises(StoreError) as caught:
            await store.put("k", b"1")
        assert is_full_disk(caught.value)
        assert looks == before + 1, attempt
    room = 10 * len(LONG)
    assert await store.put("k", b"1") == 6


async def test_bytes_that_wait_for_their_commit_take_room(
    store: LocalStore, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.spare = None
    disk.may_commit.clear()
    # Room for one long value: in the log and in the file, as an item and in the history.
    room = 64 * 1024 * 1024 + 4 * (len(LONG) + 1)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=room, f_frsize=1))
    writing = asyncio.ensure_future(store.put("a", LONG))
    await asyncio.sleep(0)
    with pytest.raises(StoreError) as caught:
        await store.put("b", b"")
    assert is_full_disk(caught.value)
    disk.may_commit.set()
    assert await writing == 1
    assert await store.put("b", b"") == 2

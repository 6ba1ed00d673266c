"""The log of a killed store: damage is refused, a torn tail opens, and no revision is given twice."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from fastrpc import CompactedError, Status, StoreError
from fastrpc.stores.base import LeaseChange, Saved
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.stores.sqlite.log import read_log
from tests.conftest import Scale
from tests.support.damage import FRAME_BYTES, HEADER_BYTES, flip

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
    """Return the content that a journal finds in a folder, or its refusal, which leaves all files alone."""
    before = contents(folder)
    journal = SqliteJournal(folder, sync=sync)
    try:
        return journal.open()
    except StoreError as error:
        assert contents(folder) == before
        return error
    finally:
        journal.close()


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
    assert found.revision >= latest
    assert numbers(found) == [*range(ITEMS)]


@pytest.mark.parametrize("cut", [1, 24, 4095, FRAME_BYTES, FRAME_BYTES + 1, 20 * FRAME_BYTES])
async def test_torn_tail_opens_and_no_revision_comes_twice(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    log = folder / "store.db-wal"
    log.write_bytes(log.read_bytes()[:-cut])
    async with LocalStore(SqliteJournal(folder)) as store:
        kept = [item.key for item in (await store.list("k/")).items]
        assert 0 < len(kept) < ITEMS
        # A watcher that saw a lost change has to list again.
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
    assert "has lost its last commits" in caplog.text


async def test_whole_log_keeps_revision_and_history(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    async with LocalStore(SqliteJournal(folder)) as store:
        changes = store.watch("", after=0)
        assert [(await anext(changes)).revision for _ in range(latest)] == [*range(1, latest + 1)]
        await changes.aclose()
        assert await store.put("k", b"") > latest


async def test_frames_of_an_earlier_log_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    await killed(folder)
    # It begins anew, over the first frames.
    monkeypatch.setattr("fastrpc.stores.sqlite.checkpoints._LOG_BYTES", 1)
    log = tmp_path / "store-alive" / "store.db-wal"
    async with LocalStore(SqliteJournal(tmp_path / "store-alive")) as store:
        for _ in range(10):
            await store.put("long", b"x" * 100_000)
        size, salts = log.stat().st_size, read_log(log).salts
        async with asyncio.timeout(30):
            # The remaining pages are moved once a pass during commits has ended.
            while read_log(log).salts == salts:
                latest = await store.put("last", b"")
                size = max(size, log.stat().st_size)
        assert log.stat().st_size == size
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "store-alive", folder)
    end = read_log(folder / "store.db-wal")
    assert 0 < end.frames < frames_of(folder / "store.db-wal")
    assert (end.later, end.has_bad_header) == (0, False)
    found = opened(folder)
    assert isinstance(found, Saved)
    assert found.revision >= latest
    assert len(found.items) == ITEMS + 2


async def test_killed_stores_that_kept_nothing_miss_no_commit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder)
    for number in range(4):
        async with LocalStore(SqliteJournal(folder)) as store:
            changes = store.watch("", after=0)
            assert [(await anext(changes)).revision for _ in range(latest)] == [*range(1, latest + 1)]
            await changes.aclose()
            folder = shutil.copytree(folder, tmp_path / f"killed-{number}")
    assert "lost" not in caplog.text


async def test_frames_of_a_commit_that_a_cut_left_are_no_damage_later(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    await killed(folder)
    log, whole = folder / "store.db-wal", (folder / "store.db-wal").read_bytes()
    end = read_log(log)
    # The frames of a last commit that was not synced, the first one torn.
    frame = whole[-FRAME_BYTES:]
    log.write_bytes(whole + bytes(FRAME_BYTES) + frame + frame)
    assert read_log(log) == replace(end, later=2, is_torn=True)
    latest = await killed(folder, items=2, first=ITEMS)
    assert latest > ITEMS + 2
    found = opened(folder)
    assert isinstance(found, Saved)
    assert found.revision >= latest
    assert numbers(found) == [*range(ITEMS + 2)]


async def test_unsynced_commits_may_be_torn_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    latest = await killed(folder, sync="normal")
    log = folder / "store.db-wal"
    flip(log, 8 * (HEADER_BYTES + 20 * FRAME_BYTES + 1000))
    assert read_log(log).later_commits > 1
    kept = read_log(log).commits
    found = opened(folder, "full")
    assert isinstance(found, Saved)
    assert found.revision > latest
    assert f"{ITEMS - len(found.items)} commits are dropped" in caplog.text
    assert kept == len(found.items)
    # The frames after the bad one are gone.
    latest = await killed(folder, items=1)
    found = opened(folder)
    assert isinstance(found, Saved)
    assert found.revision >= latest


@pytest.mark.parametrize("damage", ["flip", "unlink"])
async def test_clean_end_between_gives_no_revision_twice(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, alive = tmp_path / "store", tmp_path / "store-alive"
    async with LocalStore(SqliteJournal(alive, sync="normal")) as store:
        for number in range(5):
            await store.put("k", b"%d" % number)
    shutil.copytree(alive, folder)
    latest = await killed(folder, sync="normal")
    assert latest == 5 + ITEMS
    if damage == "flip":
        flip(folder / "store.db-wal", 8 * (HEADER_BYTES + 1000))
    else:
        (folder / "store.db-wal").unlink()
    async with LocalStore(SqliteJournal(folder, sync="normal")) as store:
        assert await store.put("k", b"") > latest
    assert "has lost its last commits" in caplog.text


async def set_back(folder: Path, items: int, last: bytes = b"last") -> bytes:
    """Leave a folder as a power cut may, with an old record of the acknowledged writes; return its log.

    Args:
        last: the value of the last item.
    """
    old = b""
    async with LocalStore(SqliteJournal(folder.with_name("alive"))) as store:
        for number in range(items):
            if number == 5:
                old = (folder.with_name("alive") / "store.revisions").read_bytes()[512:]
            await store.put(f"k/{number}", last if number == items - 1 else b"%d" % number)
        shutil.copytree(folder.with_name("alive"), folder)
    revisions = folder / "store.revisions"
    revisions.write_bytes(revisions.read_bytes()[:512] + old)
    return (folder / "store.db-wal").read_bytes()


async def check_lost(store: LocalStore, revision: int) -> None:
    """Check that a watcher that saw a lost revision has to list again, and one before it has not."""
    with pytest.raises(CompactedError):
        await anext(store.watch("", after=revision))
    page = await store.list("")
    for known in (revision - 1, page.revision - 1):
        changes = store.watch("", after=known)
        assert (await anext(changes)).revision > revision
        await changes.aclose()


def last_frames(log: bytes, commits: int) -> list[int]:
    """Return the places of the frames of the last commits."""
    places = range(HEADER_BYTES, len(log), FRAME_BYTES)
    ends = [number for number, at in enumerate(places) if log[at + 4 : at + 8] != bytes(4)]
    return [*places[ends[-commits - 1] + 1 :]]


async def test_bad_last_commit_after_an_old_record_gives_no_revision_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    log = await set_back(folder, ITEMS)
    for at in last_frames(log, 1):
        case = tmp_path / str(at)
        shutil.copytree(folder, case)
        flip(case / "store.db-wal", 8 * (at + 1000))
        caplog.clear()
        async with LocalStore(SqliteJournal(case)) as store:
            assert await store.put("k", b"") > ITEMS
            await check_lost(store, ITEMS)
        assert "1 commits are dropped" in caplog.text
        # The watcher may come back later.
        async with LocalStore(SqliteJournal(case)) as store:
            await store.put("k", b"")
            await check_lost(store, ITEMS)


async def test_last_commit_is_dropped_whichever_of_its_frames_a_cut_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    # Of several pages: the frames after the missing one are whole.
    log = await set_back(folder, ITEMS, b"x" * 20_000)
    places = last_frames(log, 1)
    assert len(places) > 4
    for number, at in enumerate(places):
        for lost in (24, 512, FRAME_BYTES):
            caplog.clear()
            left = bytearray(log)
            left[at : at + lost] = bytes(lost)
            case = tmp_path / f"{number}-{lost}"
            shutil.copytree(folder, case)
            (case / "store.db-wal").write_bytes(left)
            end = read_log(case / "store.db-wal")
            assert (end.later, end.is_before_commit) == (len(places) - 1 - number, False)
            found = opened(case)
            assert isinstance(found, Saved), found
            assert numbers(found) == [*range(ITEMS - 1)]
            assert "1 commits are dropped" in caplog.text


async def test_commit_after_an_incomplete_commit_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    log = await set_back(folder, ITEMS)
    ones = last_frames(log, 3)
    for at in ones[: len(ones) - len(last_frames(log, 2))]:
        left = bytearray(log)
        left[at : at + FRAME_BYTES] = bytes(FRAME_BYTES)
        (folder / "store.db-wal").write_bytes(left)
        assert read_log(folder / "store.db-wal").is_before_commit
        assert isinstance(opened(folder), StoreError)


@pytest.mark.parametrize("place", [0, 4, 5, 7, 8, 12, 16, 20, 1000])
async def test_bad_frame_before_a_whole_commit_is_damage_after_an_old_record(
    tmp_path: Path, place: int
) -> None:
    folder = tmp_path / "store"
    log = await set_back(folder, ITEMS)
    for at in set(last_frames(log, 2)) - set(last_frames(log, 1)):
        for bit in range(8):
            (folder / "store.db-wal").write_bytes(log)
            flip(folder / "store.db-wal", 8 * (at + place) + bit)
            assert isinstance(opened(folder), StoreError), (at, bit)


@pytest.mark.parametrize("has_record", [True, False])
async def test_lost_commit_of_a_lease_is_damage(tmp_path: Path, has_record: bool) -> None:
    journal = SqliteJournal(tmp_path / "alive")
    journal.open()
    for number in range(5):
        journal.commit([LeaseChange(f"lease-{number}", 30.0)], 0)
    folder = tmp_path / "store"
    shutil.copytree(tmp_path / "alive", folder)
    journal.close()
    if not has_record:
        (folder / "store.revisions").unlink()
    log = (folder / "store.db-wal").read_bytes()
    first = last_frames(log, 3)[0]
    flip(folder / "store.db-wal", 8 * (first + 1000))
    found = opened(folder)
    assert isinstance(found, StoreError)
    assert found.status is Status.DATA_LOSS


@pytest.mark.parametrize("is_empty", [False, True])
async def test_a_missing_log_of_leases_is_reported(
    tmp_path: Path, is_empty: bool, caplog: pytest.LogCaptureFixture
) -> None:
    journal = SqliteJournal(tmp_path / "alive")
    journal.open()
    for number in range(5):
        journal.commit([LeaseChange(f"lease-{number}", 30.0)], 0)
    folder = tmp_path / "store"
    shutil.copytree(tmp_path / "alive", folder)
    journal.close()
    if is_empty:
        (folder / "store.db-wal").write_bytes(b"")
    else:
        (folder / "store.db-wal").unlink()
    assert isinstance(opened(folder), Saved)
    assert "has lost its last commits, 5 of its log" in caplog.text


async def test_a_store_without_a_commit_since_a_clean_end_lost_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, alive = tmp_path / "store", tmp_path / "alive"
    async with LocalStore(SqliteJournal(alive)) as store:
        await store.put("k", b"")
    journal = SqliteJournal(alive)
    journal.open()
    shutil.copytree(alive, folder)
    journal.close()
    (folder / "store.db-wal").unlink(missing_ok=True)
    assert isinstance(opened(folder), Saved)
    assert caplog.text == ""


async def test_store_that_was_closed_continues_with_the_next_revision(tmp_path: Path) -> None:
    for revision in range(1, 4):
        async with LocalStore(SqliteJournal(tmp_path / "store", sync="normal")) as store:
            assert await store.put("k", b"") == revision


@pytest.mark.parametrize("bit", [0, 40, 50, 90, 512 * 8 + 3, 512 * 8 + 50])
async def test_damaged_revisions_are_refused(tmp_path: Path, bit: int) -> None:
    folder = tmp_path / "store"
    await killed(folder)
    flip(folder / "store.revisions", bit)
    found = opened(folder)
    assert isinstance(found, StoreError)
    assert "store.revisions is damaged: a checksum is wrong" in found.message


async def test_missing_file_next_to_its_revisions_is_refused(tmp_path: Path) -> None:
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
    monkeypatch.setattr("fastrpc.stores.sqlite.numbers._BLOCK", 5)
    folder = tmp_path / "store"
    latest = await killed(folder)
    reserved = int.from_bytes((folder / "store.revisions").read_bytes()[6:14], "little")
    assert latest <= reserved <= latest + 5

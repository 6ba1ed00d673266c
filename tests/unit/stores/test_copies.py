"""Copies of a store: the content of a backup, and that no revision comes twice after it is restored."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc import CompactedError, Status, StoreError
from fastrpc.stores.base import Item, revision_of_now
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal, StoreCopy, check_folder, copy_folder, restore_copy


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a store of two items, one with a lease, at revision 3."""
    folder = tmp_path / "store"
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("a", b"\x00\xff", lease=await store.lease(10))
        await store.put("b", b"1")
        await store.put("b", b"2")
    return folder


async def test_restored_store_has_all_items_and_later_revisions(folder: Path, tmp_path: Path) -> None:
    assert copy_folder(folder, tmp_path / "copy") == 2
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert restore_copy(tmp_path / "copy", tmp_path / "new") == 2
    before, after = check_folder(folder), check_folder(tmp_path / "new")
    assert (after.items, after.leases) == (before.items, before.leases)
    async with LocalStore(SqliteJournal(tmp_path / "new")) as store:
        with pytest.raises(CompactedError):
            await anext(store.watch("", after=3))
        latest = await store.put("c", b"")
        assert latest > 3 + 2**40
    # Of the same copy once more: its revisions are above the revisions of the store that was restored first.
    restore_copy(tmp_path / "copy", tmp_path / "third")
    assert check_folder(tmp_path / "third").revision > latest


def test_copy_of_a_restored_store_repeats_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with StoreCopy(tmp_path / "copy") as copy:
        copy.add([], [], revision_of_now())
    revisions = [revision_of_now()]
    for hours in (1, 2):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * 3600)
        restore_copy(tmp_path / "copy", tmp_path / str(hours))
        revisions.append(check_folder(tmp_path / str(hours)).revision)
    assert revisions == sorted(set(revisions))


def test_copy_of_a_clock_ahead_rises_too(tmp_path: Path) -> None:
    with StoreCopy(tmp_path / "copy") as copy:
        copy.add([], [], 2**52)
    restore_copy(tmp_path / "copy", tmp_path / "new")
    assert 2**52 < check_folder(tmp_path / "new").revision < 2**53


def test_a_file_that_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"no file of a store" * 100)
    with pytest.raises(StoreError, match="is not a backup of a store"):
        restore_copy(tmp_path / "junk", tmp_path / "new")
    assert not (tmp_path / "new").exists()


async def test_copy_appears_once_it_is_whole(folder: Path, tmp_path: Path) -> None:
    saved = check_folder(folder)
    path = tmp_path / "copy"
    with pytest.raises(RuntimeError, match="cut off"), StoreCopy(path) as copy:
        copy.add(saved.items, saved.leases, saved.revision)
        assert not path.exists()
        raise RuntimeError("cut off")
    assert [found.name for found in tmp_path.iterdir()] == ["store"]


async def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    copy_folder(folder, tmp_path / "copy")
    attempts: list[Callable[[], object]] = [
        lambda: copy_folder(folder, tmp_path / "copy"),
        lambda: restore_copy(tmp_path / "copy", folder),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.status is Status.ALREADY_EXISTS
    assert check_folder(folder).revision == 3


def test_two_copies_with_one_path_are_both_whole_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    items = [Item(f"k/{number}", b"x", number + 1) for number in range(10)]
    first, second = StoreCopy(path), StoreCopy(path)
    with pytest.raises(StoreError) as caught, second:
        second.add(items[:5], revision=5)
        with first:
            first.add(items, revision=10)
        assert restore_copy(path, tmp_path / "restored") == 10
    assert caught.value.status is Status.ALREADY_EXISTS
    assert restore_copy(path, tmp_path / "again") == 10
    assert {found.name for found in tmp_path.iterdir()} == {"copy", "restored", "again"}


def test_a_copy_is_made_where_a_file_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError("links")

    monkeypatch.setattr(os, "link", refuse)
    with StoreCopy(tmp_path / "copy") as copy:
        copy.add([Item("k", b"x", 1)], revision=1)
    assert restore_copy(tmp_path / "copy", tmp_path / "restored") == 1


async def test_held_and_missing_stores_are_refused(folder: Path, tmp_path: Path) -> None:
    async with LocalStore(SqliteJournal(folder)):
        with pytest.raises(StoreError, match="another store holds"):
            copy_folder(folder, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(StoreError, match="has no store"):
        check_folder(tmp_path / "nothing")


async def test_snapshot_of_a_running_store_is_one_moment(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("c", b"")
        saved = await store.saved()
        await store.put("d", b"")
    assert [item.key for item in saved.items] == ["a", "b", "c"]
    assert (saved.revision, len(saved.leases)) == (4, 1)

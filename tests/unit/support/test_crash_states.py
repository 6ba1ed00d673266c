"""The disk after a power cut has all synced bytes, and any part of the others."""

import random
from collections.abc import Sequence

from tests.support.crash_states import Disk, Record


def cuts(records: Sequence[Record], files: dict[str, bytes] | None = None) -> list[dict[str, bytes]]:
    """Return the files after many cuts during some changes."""
    disk = Disk(files or {})
    for record in records:
        disk.apply(record)
    chance = random.Random(1)
    return [disk.after_cut(chance) for _ in range(200)]


def wrote(path: str, offset: int, data: bytes) -> Record:
    return Record("W", path, offset, data)


def synced(path: str) -> Record:
    return Record("S", path, 0, b"")


def test_synced_content_survives() -> None:
    found = cuts([wrote("a", 0, b"1" * 600), synced("a")], {"a": b""})
    assert found == [{"a": b"1" * 600}] * 200


def test_each_sector_has_one_of_its_states() -> None:
    found = {
        left["a"] for left in cuts([wrote("a", 0, b"1" * 1024), wrote("a", 510, b"22")], {"a": b"0" * 1024})
    }
    firsts = {content[:512] for content in found}
    assert firsts == {b"0" * 512, b"1" * 512, b"1" * 510 + b"22"}
    assert {content[:1] + content[512:513] for content in found} == {b"00", b"01", b"10", b"11"}


def test_size_is_kept_by_a_sync() -> None:
    changes = [wrote("a", 0, b"1" * 10), Record("T", "a", 3, b"")]
    assert {len(left["a"]) for left in cuts(changes, {"a": b"0" * 5})} == {3, 5, 10}
    assert cuts([*changes, synced("a")], {"a": b"0" * 5}) == [{"a": b"111"}] * 200


def test_names_are_kept_by_a_sync_of_the_folder() -> None:
    changes = [Record("O", "a", 0, b""), wrote("a", 0, b"1"), synced("a"), Record("R", "a", 0, b"b")]
    assert {tuple(left.items()) for left in cuts(changes)} == {(), (("a", b"1"),), (("b", b"1"),)}
    assert cuts([*changes, synced("")]) == [{"b": b"1"}] * 200
    removed = [*changes, synced(""), Record("U", "b", 0, b"")]
    assert {tuple(left.items()) for left in cuts(removed)} == {(), (("b", b"1"),)}

"""The file that holds the newest snapshot, for any order of its writers."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc.coordination.snapshot_file import SnapshotFile


def content(file: SnapshotFile) -> bytes | None:
    return file.read(lambda opened: opened.read())


def test_older_snapshot_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "folder" / "snapshot")
    assert content(file) is None
    assert file.write([b"new", b"er"], 2)
    assert file.write([b"older"], 1)
    assert content(file) == b"newer"
    assert file.write([b"newest"], 3)
    assert content(file) == b"newest"


def test_snapshot_that_could_not_be_written_may_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    file = SnapshotFile(tmp_path / "snapshot")
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        assert not file.write([b"kept"], 1)
    assert file.write([b"kept"], 1)
    assert content(file) == b"kept"


def test_snapshot_waits_for_an_older_snapshot_of_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SnapshotFile(tmp_path / "snapshot")
    newer = threading.Thread(target=file.write, args=([b"newer"], 2))
    replace = os.replace

    def late(path: str, target: str) -> None:
        if newer.ident is None:
            newer.start()
            # Were it not to wait, it would be through before the older one takes its place.
            newer.join(0.5)
        replace(path, target)

    monkeypatch.setattr("os.replace", late)
    assert file.write([b"older"], 1)
    newer.join(20)
    assert content(file) == b"newer"


def test_failed_write_leaves_only_the_old_content(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError(5, "Input/output error")

    file = SnapshotFile(tmp_path / "snapshot")
    assert file.write([b"old"], 1)
    assert not file.write(pieces(), 2)
    assert content(file) == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["snapshot"]
    assert file.write([b"new"], 2)


def test_content_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def noted_replace(source: str, target: str) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr("os.fsync", noted_fsync)
    monkeypatch.setattr("os.replace", noted_replace)
    assert SnapshotFile(tmp_path / "snapshot").write([b"new"], 1)
    assert done == ["file", "replace", "folder"]

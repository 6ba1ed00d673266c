"""The file that holds the newest snapshot, whatever order its writers come in."""

import os
import threading
from pathlib import Path

import pytest

from fastrpc.coordination.snapshot_file import SnapshotFile


def test_older_snapshot_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "folder" / "snapshot")
    assert file.read() is None
    assert file.write(b"newer", 2)
    assert file.write(b"older", 1)
    assert file.read() == b"newer"
    assert file.write(b"newest", 3)
    assert file.read() == b"newest"


def test_snapshot_that_could_not_be_written_may_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    file = SnapshotFile(tmp_path / "snapshot")
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        assert not file.write(b"kept", 1)
    assert file.write(b"kept", 1)
    assert file.read() == b"kept"


def test_snapshot_waits_for_an_older_one_that_another_thread_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SnapshotFile(tmp_path / "snapshot")
    newer = threading.Thread(target=file.write, args=(b"newer", 2))
    replace = os.replace

    def late(path: str, target: str) -> None:
        if newer.ident is None:
            newer.start()
            # Were it not to wait, it would be through before the older one takes its place.
            newer.join(0.5)
        replace(path, target)

    monkeypatch.setattr("os.replace", late)
    assert file.write(b"older", 1)
    newer.join(5)
    assert file.read() == b"newer"

"""The file with the last good lists."""

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pytest

from fastrpc import Endpoint
from fastrpc.registries.base import cache as caches
from fastrpc.registries.base.cache import CacheFile
from fastrpc.registries.base.record import RecordError
from fastrpc.replaced_file import replaced_file
from tests.support.forking import in_child

ONE = Endpoint("tcp://h:1", weight=3, labels={"a": "b"}, zone="z")
TWO = Endpoint("tcp://h:2")

DEEP = b'{"services": {"arith": [' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"]}}"


def test_file_returns_the_endpoints_it_keeps(tmp_path: Path) -> None:
    CacheFile(tmp_path / "lists").keep("arith", [ONE, TWO])
    assert [endpoint for _, endpoint in CacheFile(tmp_path / "lists").load("arith")] == [ONE, TWO]


def test_services_share_a_file(tmp_path: Path) -> None:
    CacheFile(tmp_path / "lists").keep("arith", [ONE])
    CacheFile(tmp_path / "lists").keep("users", [TWO])
    cache = CacheFile(tmp_path / "lists")
    assert [len(cache.load(name)) for name in ("arith", "users", "other")] == [1, 1, 0]


def test_services_whose_lists_arrive_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "lists")
    services = [f"service{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda service: cache.keep(service, [ONE]), services))
    assert [len(cache.load(service)) for service in services] == [1] * 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_child_of_a_fork_writes_though_a_thread_of_the_parent_was_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CacheFile(tmp_path / "lists")
    is_writing, has_forked = threading.Event(), threading.Event()

    def replaced_slowly(path: Path) -> AbstractContextManager[BinaryIO]:
        is_writing.set()
        assert has_forked.wait(60)
        return replaced_file(path)

    def keep() -> None:
        monkeypatch.setattr(caches, "replaced_file", replaced_file)
        # On a separate thread, so that a lock that is never released fails the test instead of stopping it.
        writer = threading.Thread(target=cache.keep, args=("users", [TWO]), daemon=True)
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
        assert len(cache.load("users")) == 1

    monkeypatch.setattr(caches, "replaced_file", replaced_slowly)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(cache.keep, "arith", [ONE])
        try:
            assert is_writing.wait(20)
            in_child(keep)
        finally:
            has_forked.set()
        writing.result()


def test_missing_file_is_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert CacheFile(tmp_path / "lists").load("arith") == []
    assert caplog.records == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1, "services": 5}', b"\xff", DEEP])
def test_file_that_cannot_be_read_holds_nothing_and_is_logged(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lists").write_bytes(content)
    assert CacheFile(tmp_path / "lists").load("arith") == []
    assert "cannot read" in caplog.text


def test_file_of_another_format_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "lists").write_text(
        json.dumps({"format": 2, "services": {"arith": [{"v": 1, "address": "tcp://h:1"}]}})
    )
    assert CacheFile(tmp_path / "lists").load("arith") == []


def test_records_in_the_file_are_checked_one_by_one(tmp_path: Path) -> None:
    good, bad = {"v": 1, "address": "tcp://h:1"}, {"v": 1}
    (tmp_path / "lists").write_text(json.dumps({"format": 1, "services": {"arith": [bad, good]}}))
    first, second = CacheFile(tmp_path / "lists").load("arith")
    assert isinstance(first[1], RecordError)
    assert second[1] == Endpoint("tcp://h:1")


def test_records_of_an_earlier_version_in_the_file_are_read_without_their_codecs(tmp_path: Path) -> None:
    record = {"v": 1, "address": "tcp://h:1", "codecs": ["msgpack", "json"]}
    (tmp_path / "lists").write_text(json.dumps({"format": 1, "services": {"arith": [record]}}))
    [(_, endpoint)] = CacheFile(tmp_path / "lists").load("arith")
    assert endpoint == Endpoint("tcp://h:1")


def test_missing_folder_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = CacheFile(tmp_path / "gone" / "lists")
    cache.keep("arith", [ONE])
    cache.keep("arith", [TWO])
    assert len(caplog.records) == 1


def test_the_file_alone_is_left_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    CacheFile(tmp_path / "lists").keep("arith", [ONE])
    assert [path.name for path in tmp_path.iterdir()] == ["lists"]
    assert stat.S_IMODE((tmp_path / "lists").stat().st_mode) == 0o600

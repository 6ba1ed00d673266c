"""The reader of SQLite's log: byte orders, and the remains of a commit after a power cut."""

import itertools
import random
import sqlite3
import struct
import time
from pathlib import Path

import pytest

from fastrpc.stores.sqlite.log import LogEnd, read_log
from tests.support.damage import FRAME_BYTES, HEADER_BYTES, flip


@pytest.mark.parametrize("magic", [0x377F0682, 0x377F0683])
def test_log_of_either_byte_order_is_read(tmp_path: Path, magic: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(log_of(magic, frames=5))
    salts = path.read_bytes()[16:24]
    assert read_log(path) == LogEnd(5, commits=5, salts=salts)
    flip(path, 8 * (HEADER_BYTES + FRAME_BYTES))
    assert read_log(path) == LogEnd(
        1, later=3, later_commits=3, is_before_commit=True, commits=1, is_torn=True, salts=salts
    )


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


def test_any_remains_of_the_last_commit_after_a_power_cut_come_before_no_other_commit(tmp_path: Path) -> None:
    file, log = tmp_path / "a.db", tmp_path / "a.db-wal"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.executescript(
        "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; CREATE TABLE t(a); CREATE TABLE u(a)"
    )
    connection.execute("CREATE TABLE v(a)")
    first = log.stat().st_size
    connection.executescript(
        "BEGIN; INSERT INTO t VALUES(1); INSERT INTO u VALUES(1); INSERT INTO v VALUES(1); COMMIT"
    )
    whole = log.read_bytes()
    # SQLite writes the header of a frame and its page by two writes.
    writes = [
        write
        for at in range(first, len(whole), 24 + 512)
        for write in (slice(at, at + 24), slice(at + 24, at + 24 + 512))
    ]
    assert len(writes) == 6
    for kept in itertools.product((False, True), repeat=len(writes)):
        left = bytearray(whole)
        for write, is_kept in zip(writes, kept, strict=True):
            if not is_kept:
                left[write] = bytes(write.stop - write.start)
        log.with_suffix(".cut").write_bytes(left)
        assert not read_log(log.with_suffix(".cut")).is_before_commit, kept
    connection.close()


@pytest.mark.measures
def test_long_log_is_read_in_little_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(log_of(0x377F0682, frames=1000) + bytes(60_000 * FRAME_BYTES))
    begin = time.perf_counter()
    assert read_log(path).frames == 1000
    assert time.perf_counter() - begin < 1.0

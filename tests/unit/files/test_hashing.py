"""Digests that are remembered."""

import time
from pathlib import Path

from fastrpc.files.hashing import COARSE_TICK_SECONDS, FINE_TICK_SECONDS, Digests, FileHash


def test_a_digest_is_kept_if_the_last_change_lay_back_when_hashing_began(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    status = (tmp_path / "a").stat()
    hashing = FileHash(-1)
    hashing.continue_by(b"abc")
    digests = Digests()
    digests.keep(status, status.st_ctime + FINE_TICK_SECONDS / 2, hashing)
    assert digests.find(status) is None
    digests.keep(status, time.time() + COARSE_TICK_SECONDS, hashing)
    known = digests.find(status)
    assert known is not None
    assert known.hexdigest() == hashing.digest.sha256

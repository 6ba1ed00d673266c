"""The plain copy with which file transfers are compared."""

import os
import sys
from pathlib import Path

import pytest

from bench.compare.processes import choose_cores, running_server
from bench.promises import plain_copy


def test_a_copy_arrives_and_its_server_outlives_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3 * plain_copy.BLOCK_BYTES + 1)
    (tmp_path / "large").write_bytes(data)
    monkeypatch.setattr(plain_copy, "SIZE", len(data))
    command = [sys.executable, "-m", "bench.promises.plain_copy", "serve", str(tmp_path)]
    with running_server(command, choose_cores().server) as server:
        assert plain_copy.load(server.address, str(tmp_path)).keys() == {"both", "one", "hash_first"}
    assert (tmp_path / "plain").read_bytes() == data

"""Attacks by HTTP/2 beside an honest client on another connection, which keeps its rate and loses no call."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastrpc import SyncClient
from tests.conftest import SCALE
from tests.support.connection_flood import honest_share
from tests.support.http2_attacker import ATTACKS
from tests.support.program import command_line
from tests.support.source_tree import ROOT

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

CODE = """
import fastrpc

@fastrpc.service("test.v1.Raw")
class Raw:
    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method(codec="raw")
    async def give(self, data: bytes) -> bytes:
        return bytes(250_000)

app = fastrpc.App([Raw])
"""

RATE, SECONDS = 200, 1.0
KEPT = 0.8
#: Memory by which attacks may enlarge the process: `Memory.process_bytes` allows some times as much.
GROWTH = 128 * 1024 * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The port and the process of a server."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "attacked.py").write_text(CODE)
    (folder / "fastrpc.toml").write_text('app = "attacked:app"\nprotocols = ["native", "grpc"]\n')
    command = ["run", "--config", "fastrpc.toml", "--address", "tcp://127.0.0.1:0"]
    with command_line(command, folder) as program:
        port = int(program.wait_output(r"serving at tcp://127\.0\.0\.1:(\d+)")[1])
        yield port, program.process_id


@contextmanager
def attacked(port: int, *names: str) -> Iterator[Counter[str]]:
    """Attack a server, and count the connections of the attacks once they are over."""
    begun = Counter[str]()
    command = [sys.executable, "-m", "tests.support.http2_attacker", str(port), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            while len(begun) < len(names):
                begun[process.stdout.readline().strip()] += 1
            yield begun
        finally:
            process.kill()
            begun.update(process.stdout.read().split())


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4_096


def check_honest_client(port: int, process: int, *names: str) -> Counter[str]:
    """Attack, and check that an honest client keeps its rate, and that memory stays small."""
    with SyncClient(f"grpc://127.0.0.1:{port}") as client:

        def call() -> None:
            assert client.call("test.v1.Raw.echo", b"hello") == b"hello"

        call()
        before = resident_bytes(process)
        with attacked(port, *names) as begun:
            share = honest_share(call, rate=RATE, seconds=SECONDS * max(1.0, SCALE))
        assert resident_bytes(process) - before < GROWTH
    assert share >= KEPT, (share, begun)
    return begun


@pytest.mark.parametrize("name", ATTACKS)
def test_an_honest_client_keeps_its_rate_beside_an_attack(served: tuple[int, int], name: str) -> None:
    check_honest_client(*served, name)


def test_an_honest_client_keeps_its_rate_beside_all_attacks_at_once(served: tuple[int, int]) -> None:
    begun = check_honest_client(*served, *ATTACKS)
    # The server ends most of them; some it can take for mistakes, or for callers that are slow.
    assert sum(count > 1 for count in begun.values()) > len(ATTACKS) // 2

"""The blocking client where processes are interrupted, killed and started again."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastrpc import Backoff, ClientConfig, ConnectionLostError, SyncClient
from tests.support.ports import free_address
from tests.support.program import Program

SERVER = """
import asyncio, sys
import fastrpc

@fastrpc.service("desk")
class Desk:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def wait(self) -> None:
        print("waiting", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)

async def main():
    async with fastrpc.Server(Desk) as server:
        print("address", await server.listen(sys.argv[1]), flush=True)
        await server.serve_forever()

asyncio.run(main())
"""

CLIENT = """
import sys, threading, time
import fastrpc

client = fastrpc.SyncClient(sys.argv[1])
if sys.argv[2] == "sleeping":
    # This thread reads, so the main one sleeps.
    threading.Thread(target=client.with_options(timeout=None).call, args=("desk.wait",), daemon=True).start()
    while client.stats()["live"]["calls"] == 0:
        time.sleep(0.001)
try:
    client.with_options(timeout=None).call("desk.wait")
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("answer", client.call("desk.mul", 6, 7), flush=True)
if sys.argv[2] == "sleeping":
    sys.exit(0)
client.close()
"""

HANDLED = """
import signal, sys
import fastrpc

seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append("signal") or print("handled", flush=True))
with fastrpc.SyncClient(sys.argv[1]) as client:
    try:
        client.with_options(timeout=1).call("desk.wait")
    except fastrpc.DeadlineExceededError:
        print("deadline", seen, flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Program]:
    with Program(["-c", SERVER, "tcp://127.0.0.1:0"], tmp_path) as program:
        yield program


def address_of(server: Program) -> str:
    return server.wait_output(r"^address (\S+)$").group(1)


@pytest.mark.parametrize("role", ["reading", "sleeping"])
def test_ctrl_c_ends_a_call_and_its_handler(server: Program, tmp_path: Path, role: str) -> None:
    with Program(["-c", CLIENT, address_of(server), role], tmp_path) as client:
        server.wait_output(r"waiting\n" * (2 if role == "sleeping" else 1))
        client.signal(signal.SIGINT)
        client.wait_output("^interrupted$")
        server.wait_output("^cancelled$")
        client.wait_output("^answer 42$")
        assert client.wait().code == 0


def test_signal_handler_runs_while_a_call_waits_and_the_call_continues(
    server: Program, tmp_path: Path
) -> None:
    with Program(["-c", HANDLED, address_of(server)], tmp_path) as client:
        server.wait_output("^waiting$")
        client.signal(signal.SIGUSR1)
        client.wait_output("^handled$")
        client.wait_output(r"^deadline \['signal'\]$")
        assert client.wait().code == 0


def test_server_that_is_killed_and_started_again_is_found_again(tmp_path: Path) -> None:
    address = free_address()
    config = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))
    with SyncClient(address, config=config) as client:
        patient = client.with_options(wait_for_ready=True, timeout=20)
        for _ in range(3):
            with Program(["-c", SERVER, address], tmp_path) as server:
                address_of(server)
                assert patient.call("desk.mul", 6, 7) == 42
                assert client.call("desk.mul", 6, 7) == 42


def test_call_under_way_when_the_server_is_killed_is_unknown(server: Program) -> None:
    with SyncClient(address_of(server)) as client, ThreadPoolExecutor(1) as threads:
        assert client.call("desk.mul", 6, 7) == 42
        answer = threads.submit(client.call, "desk.wait")
        server.wait_output("^waiting$")
        server.signal(signal.SIGKILL)
        error = answer.exception()
        assert isinstance(error, ConnectionLostError)
        assert error.processed == "unknown"

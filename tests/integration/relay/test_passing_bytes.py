"""The bytes of a pair: back-pressure, half-closes, cuts, idle ends, and a relay that dials nothing."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastrpc import Client, Server, ServerConfig
from fastrpc.gauges import COUNTS, gauges
from fastrpc.relay.splicing import READ_BYTES, SplicedPair
from tests.support.arith import Arith
from tests.support.relayed import RelayFiles, relaying
from tests.support.waiting import eventually


class Ends:
    """The far ends of the two connections of a pair."""

    def __init__(self, caller: socket.socket, server: socket.socket, pair: SplicedPair) -> None:
        self.caller = caller
        self.server = server
        self.pair = pair
        self.is_over = False

    async def send(self, end: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(end, data)

    async def receive(self, end: socket.socket, size: int) -> bytes:
        received = b""
        while len(received) < size:
            piece = await asyncio.get_running_loop().sock_recv(end, size - len(received))
            if not piece:
                break
            received += piece
        return received


class Nothing(asyncio.BufferedProtocol):
    """The protocol of a connection before its pair."""

    def get_buffer(self, sizehint: int) -> bytearray:
        return bytearray(1)


@asynccontextmanager
async def spliced() -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        far, near = [], []
        for _ in range(2):
            dialled = socket.create_connection(bound.getsockname())
            dialled.setblocking(False)
            accepted, _ = bound.accept()
            accepted.setblocking(False)
            far.append(dialled)
            near.append((await loop.connect_accepted_socket(Nothing, accepted))[0])

    def end(_: SplicedPair) -> None:
        ends.is_over = True

    pair = SplicedPair(near[0], near[1], memoryview(bytearray(READ_BYTES)), end)
    ends = Ends(far[0], far[1], pair)
    pair.begin(b"first ")
    try:
        yield ends
    finally:
        pair.abort()
        for each in far:
            each.close()
        await eventually(lambda: ends.is_over)


async def test_bytes_pass_both_ways() -> None:
    async with spliced() as ends:
        await ends.send(ends.caller, b"question")
        assert await ends.receive(ends.server, 14) == b"first question"
        await ends.send(ends.server, b"answer")
        assert await ends.receive(ends.caller, 6) == b"answer"
        assert ends.pair.received_bytes == (8, 6)


async def test_each_direction_ends_by_itself() -> None:
    async with spliced() as ends:
        await ends.send(ends.caller, b"question")
        ends.caller.shutdown(socket.SHUT_WR)
        assert await ends.receive(ends.server, 100) == b"first question"
        await ends.send(ends.server, b"late answer")
        assert await ends.receive(ends.caller, 11) == b"late answer"
        assert not ends.is_over
        ends.server.shutdown(socket.SHUT_WR)
        assert await ends.receive(ends.caller, 1) == b""
        await eventually(lambda: ends.is_over)


async def test_a_cut_connection_cuts_the_other_one() -> None:
    async with spliced() as ends:
        assert await ends.receive(ends.server, 6) == b"first "
        ends.caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        ends.caller.close()
        await eventually(lambda: ends.is_over)


@pytest.mark.parametrize("from_caller", [True, False])
async def test_a_slow_reader_stops_the_other_side(from_caller: bool) -> None:
    async with spliced() as ends:
        assert await ends.receive(ends.server, 6) == b"first "
        source, target = (ends.caller, ends.server) if from_caller else (ends.server, ends.caller)
        data = os.urandom(1 << 20) * 16
        sending = asyncio.ensure_future(ends.send(source, data))
        near = ends.pair.server if from_caller else ends.pair.caller
        await eventually(near.transport.get_write_buffer_size)
        for _ in range(200):
            await asyncio.sleep(0)
        assert not sending.done()
        assert near.transport.get_write_buffer_size() <= 2 * READ_BYTES
        assert await ends.receive(target, len(data)) == data
        await sending


async def test_an_idle_pair_is_closed(files: RelayFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.relay.front._LOOK_SECONDS", 0.01)
    async with relaying(files, idle_seconds=0.05) as relay:
        await relay.serve(Arith)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            await eventually(lambda: not relay.front.pairs)


async def test_a_monitor_sees_the_pairs_and_bytes_of_each_name(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.relay.front._LOOK_SECONDS", 0.01)
    async with relaying(files) as relay:
        await relay.serve(Arith)
        before = COUNTS["relay_pairs"].get("edge-7", 0)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            told = {
                (name, labels): value for name, labels, value in gauges() if name.startswith("fastrpc_relay")
            }
            assert told["fastrpc_relay_open_pairs", ("edge-7",)] == 1
            assert told["fastrpc_relay_names", ()] >= 1
            assert COUNTS["relay_pairs"]["edge-7"] == before + 1
            counts = COUNTS["relay_bytes"]
            await eventually(lambda: all(counts.get(f"edge-7\n{one}", 0) > 100 for one in ("in", "out")))


RELAY = """
import asyncio, sys
from fastrpc import TLS
from fastrpc.auth import StaticTokens
from fastrpc.relay.server import RelayServer

def note(event, arguments):
    if event == "socket.connect" and arguments[0].type == 1:
        print("connects to", arguments[1], flush=True)

async def main():
    cert, key, tokens = sys.argv[1:]
    server = RelayServer(
        "tls://127.0.0.1:0",
        name="localhost",
        tls=TLS(cert_file=cert, key_file=key),
        authenticate=StaticTokens.from_file(tokens),
    )
    async with server:
        sys.addaudithook(note)
        print(server.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_relay_connects_to_nothing(files: RelayFiles) -> None:
    relay = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", RELAY, files.relay.cert_file, files.relay.key_file, files.tokens_file),
        stdout=asyncio.subprocess.PIPE,
    )
    assert relay.stdout is not None
    try:
        target = f"{(await relay.stdout.readline()).decode().strip()}/edge-7"
        async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
            await server.listen(target + files.options())
            for number in range(5):
                async with Client(target, config=files.client) as client:
                    assert await client.call(Arith.mul, number, 7) == number * 7
    finally:
        relay.kill()
        rest, _ = await relay.communicate()
    assert rest == b""

"""The cost of large answers for a server: memory while they are unread, stalls while they are compressed."""

import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastrpc import Address, Client, FastRPCError
from tests.support import grpc_bytes
from tests.support.bulk_server import Bulk
from tests.support.frame_factory import opening, request
from tests.support.http_talk import HttpClient
from tests.support.http_talk import request as http_request
from tests.support.program import Program
from tests.support.rpcx_wire import JSON, call
from tests.support.socket_client import handshake
from tests.support.socket_frames import TEXT, client_frame
from tests.support.ways_in import MCP_META
from tests.support.wire_settings import Setting

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

ROOT = Path(__file__).parents[3]
MIB = 1 << 20

CONNECTIONS, CALLS = 60, 4
ANSWER_BYTES = 15_000_000
#: The allowed growth of the server beyond its idle size: its `Memory.process_bytes` and half of that.
MOST_GROWTH = 384 * MIB
#: The longest time of a call of a good client, which makes 500 a second.
MOST_SECONDS = 1.5
#: The longest stall of the loop, while 16 MB are compressed.
MOST_STALL = 0.1


def _native(seconds: float) -> bytes:
    payload = msgspec.msgpack.encode([ANSWER_BYTES, seconds])
    requests = [request(1 + 2 * at, payload, method=b"bulk.make", codec=1) for at in range(CALLS)]
    return opening(is_server=False, changes={Setting.MAX_MESSAGE: 16 * MIB}) + b"".join(requests)


def _arguments(seconds: float) -> dict[str, Any]:
    return {"size": ANSWER_BYTES, "seconds": seconds}


def _entry(seconds: float, number: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "bulk.make", "params": _arguments(seconds), "id": number}


def _http(seconds: float) -> bytes:
    return http_request("POST", "/bulk/make", _arguments(seconds)) * CALLS


def _json_rpc(seconds: float) -> bytes:
    return http_request("POST", "/jsonrpc", _entry(seconds)) * CALLS


def _batch(seconds: float) -> bytes:
    return http_request("POST", "/jsonrpc", [_entry(seconds, at) for at in range(CALLS)])


def _mcp(seconds: float) -> bytes:
    parameters = {"name": "bulk_make", "arguments": _arguments(seconds), "_meta": MCP_META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    fields = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "bulk_make"}
    return http_request("POST", "/mcp", body, **fields) * CALLS


def _rpcx(seconds: float) -> bytes:
    frames = [
        call("bulk", "make", _arguments(seconds), serialize=JSON, sequence=at) for at in range(1, CALLS + 1)
    ]
    return b"".join(frame.encode() for frame in frames)


def _grpc(seconds: float) -> bytes:
    arguments = grpc_bytes.number_field(ANSWER_BYTES) + b"\x11" + struct.pack("<d", seconds)
    calls = [grpc_bytes.request("/bulk/make", arguments, stream=1 + 2 * at) for at in range(CALLS)]
    return grpc_bytes.OPENING + b"".join(calls)


def _socket(seconds: float) -> bytes:
    message = json.dumps({"arguments": _arguments(seconds)}).encode()
    return handshake("/ws/bulk/make") + client_frame(TEXT, message)


def _json_rpc_in_a_socket(seconds: float) -> bytes:
    messages = [json.dumps(_entry(seconds, at)).encode() for at in range(CALLS)]
    return handshake("/jsonrpc") + b"".join(client_frame(TEXT, message) for message in messages)


#: The bytes of one connection by each way.
WAYS: dict[str, Callable[[float], bytes]] = {
    "native": _native,
    "HTTP": _http,
    "JSON-RPC": _json_rpc,
    "a batch of JSON-RPC": _batch,
    "MCP": _mcp,
    "rpcx": _rpcx,
    "gRPC": _grpc,
    "WebSocket": _socket,
    "JSON-RPC by WebSocket": _json_rpc_in_a_socket,
}


def resident_bytes(program: Program) -> int:
    status = Path(f"/proc/{program.process_id}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(params=["asyncio", "uvloop"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Program, Address]]:
    arguments = ["-m", "tests.support.bulk_server", request.param]
    with Program(arguments, ROOT, stdin=subprocess.PIPE, is_anew=True) as program:
        found = await asyncio.to_thread(program.wait_output, r"(tcp://\S+)\n")
        yield program, Address.parse(found[1])


def unread_socket(address: Address) -> socket.socket:
    """Return a connection for which the system buffers little."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect((address.host, address.port))
    return connection


class GoodClient:
    """500 calls a second on a separate connection: the longest time until one is answered or refused."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._calls: set[asyncio.Task[None]] = set()
        self.longest = 0.0
        self.answered = self.refused = 0

    async def run(self) -> None:
        while True:
            task = asyncio.create_task(self._call())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            await asyncio.sleep(0.002)

    async def _call(self) -> None:
        began = time.perf_counter()
        try:
            await self._client.with_options(fail_mode="failfast", timeout=10).call(Bulk.echo, b"x" * 32)
            self.answered += 1
        except FastRPCError:
            self.refused += 1
        self.longest = max(self.longest, time.perf_counter() - began)

    async def settle(self) -> None:
        """Wait for the calls under way."""
        await asyncio.gather(*self._calls)


@pytest.mark.parametrize("seconds", [0.0, 0.3], ids=["at once", "after 0.3 s"])
@pytest.mark.parametrize("way", WAYS)
async def test_unread_answers_stay_within_the_memory_of_the_process(
    server: tuple[Program, Address], way: str, seconds: float
) -> None:
    program, address = server
    async with Client(str(address)) as client:
        await client.ready()
        good = GoodClient(client)
        connections = [unread_socket(address) for _ in range(CONNECTIONS)]
        running = asyncio.create_task(good.run())
        try:
            await asyncio.sleep(0.5)
            idle = most = resident_bytes(program)
            sent = WAYS[way](seconds)
            for connection in connections:
                connection.send(sent)
            ends = time.monotonic() + 4
            while time.monotonic() < ends:
                most = max(most, resident_bytes(program))
                await asyncio.sleep(0.01)
        finally:
            running.cancel()
            for connection in connections:
                connection.close()
        await good.settle()
        print(
            f"{way}: + {(most - idle) / MIB:.0f} MiB, the good client waited {good.longest:.2f} s at most, "
            f"{good.answered} answered, {good.refused} refused"
        )
        assert most - idle <= MOST_GROWTH
        assert good.longest <= MOST_SECONDS


async def longest_stall(address: Address, work: Any) -> tuple[float, float]:
    """Return for how long the server let a client wait while it did some work, and how long that took."""
    async with Client(str(address)) as client:
        await client.ready()
        good = GoodClient(client)
        running = asyncio.create_task(good.run())
        began = time.perf_counter()
        try:
            await work
        finally:
            took = time.perf_counter() - began
            running.cancel()
            await good.settle()
    return good.longest, took


@pytest.mark.parametrize("compressor", ["gzip", "zstd", "lz4"])
@pytest.mark.parametrize("protocol", ["native", "rpcx"])
async def test_the_loop_continues_while_a_long_answer_is_compressed(
    server: tuple[Program, Address], compressor: str, protocol: str
) -> None:
    if protocol == "rpcx" and compressor != "gzip":
        pytest.skip("rpcx knows gzip alone")
    _, address = server
    reading = asyncio.create_task(asyncio.to_thread(asks_for_noise, str(address), compressor, protocol))
    stall, took = await longest_stall(address, reading)
    print(f"an answer by {protocol}, {compressor}: {took:.2f} s, stall {stall * 1000:.0f} ms")
    assert stall <= MOST_STALL


def asks_for_noise(address: str, compressor: str, protocol: str) -> None:
    """Call in a thread, so that the loop of the test does nothing of it."""
    from fastrpc import ClientConfig, SyncClient

    config = ClientConfig(wire_protocol=protocol)
    with SyncClient(address, config=config) as client:
        view = client.with_options(compressor=compressor, timeout=60)
        size = b"15900000".ljust(2_000, b".")
        assert len(view.call(Bulk.noise, size)) == 15_900_000


@pytest.mark.parametrize("compressor", ["gzip", "zstd", "lz4"])
async def test_the_loop_of_a_caller_continues_while_a_long_request_is_compressed(
    server: tuple[Program, Address], compressor: str
) -> None:
    _, address = server
    noise = random.Random(5).randbytes(15_900_000)
    longest = 0.0

    async def turn() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    async with Client(str(address)) as client:
        await client.ready()
        turning = asyncio.create_task(turn())
        view = client.with_options(compressor=compressor, timeout=60)
        assert await view.call(Bulk.measure, noise) == b"15900000"
        turning.cancel()
    print(f"a request, {compressor}: stall {longest * 1000:.0f} ms")
    assert longest <= MOST_STALL


async def test_json_rpc_costs_hardly_more_than_the_same_call_by_its_path(
    server: tuple[Program, Address],
) -> None:
    program, address = server
    value = b"[" + b",".join([b"[]"] * 900_000) + b"]"
    by_path = b'{"value":' + value + b"}"
    by_name = b'{"jsonrpc":"2.0","method":"bulk.count","params":{"value":' + value + b'},"id":1}'
    by_position = b'{"jsonrpc":"2.0","method":"bulk.count","params":[' + value + b'],"id":1}'
    costs: dict[str, float] = {}
    async with await HttpClient.to(address) as client:
        for _ in range(10):
            for name, path, body in (
                ("path", "/bulk/count", by_path),
                ("name", "/jsonrpc", by_name),
                ("position", "/jsonrpc", by_position),
            ):
                before = processor_seconds(program)
                answer = await client.post(path, body)
                assert answer.status == 200, answer.body
                cost = processor_seconds(program) - before
                costs[name] = min(cost, costs.get(name, cost))
    print(f"900,000 empty arrays: {costs}")
    assert costs["name"] <= costs["path"] * 1.2
    assert costs["position"] <= costs["path"] * 1.2


def processor_seconds(program: Program) -> float:
    fields = Path(f"/proc/{program.process_id}/schedstat").read_text().split()
    return int(fields[0]) / 1e9

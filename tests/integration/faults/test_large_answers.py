"""Answers of every protocol count against the process bound: without room one is dropped, and its caller learns so."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Address, CallError, Client, Memory, ServerConfig, Status, SyncClient, Timeouts
from fastrpc._core.base.histogram import REFUSALS
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.config.validation import SERVER_PROTOCOLS
from tests.support.http_talk import HttpClient
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.ways_in import WAYS, Asked

pytestmark = pytest.mark.one_loop

KIB, MIB = 1 << 10, 1 << 20
#: Bytes held of a process that may hold a MiB: two thirds, so that new calls start.
HELD = 700 * KIB
CONFIG = ServerConfig(
    protocols=tuple(SERVER_PROTOCOLS[:5]),
    http=HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, grpc_web=True, connect=True),
    memory=Memory(process_bytes=MIB),
    timeouts=Timeouts(call=60),
)

#: Ways whose answer is one message, and which tell a status.
UNARY = [
    name
    for name, way in WAYS.items()
    if way.form not in ("lines", "events", "a notification of JSON-RPC", "MCP")
]


@fastrpc.service("bulk")
class Bulk:
    def __init__(self) -> None:
        self.size = 0
        self.made = 0
        self.keeps = 0
        self.release = asyncio.Event()

    @fastrpc.method(idempotent=True, safe=True, tool=True)
    async def make(self) -> str:
        self.made += 1
        return "x" * self.size

    @fastrpc.method(idempotent=True)
    async def make_later(self) -> bytes:
        await asyncio.sleep(0)
        self.made += 1
        return bytes(self.size)

    @fastrpc.method(codec="raw", idempotent=True)
    def make_raw(self, data: bytes) -> bytes:
        self.made += 1
        return bytes(self.size)

    @fastrpc.method(codec="raw")
    async def keep(self, payload: bytes) -> bytes:
        self.keeps += 1
        await self.release.wait()
        return payload[:1]


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    REFUSALS.update(dict.fromkeys(REFUSALS, 0))
    yield
    REFUSALS.update(dict.fromkeys(REFUSALS, 0))


@asynccontextmanager
async def half_full(bulk: Bulk) -> AsyncIterator[Served]:
    """Yield a server whose memory is used by a call, until `bulk.release`."""
    async with served(bulk, scheme="tcp", config=CONFIG) as target:
        async with Client(target) as client:
            keeping = asyncio.create_task(client.call(Bulk.keep, bytes(HELD)))
            await eventually(lambda: bulk.keeps == 1)
            yield target
            bulk.release.set()
            assert await keeping == b"\0"


@pytest.mark.parametrize("name", UNARY)
async def test_an_answer_without_room_is_dropped_and_told(name: str) -> None:
    bulk = Bulk()
    async with half_full(bulk) as target:
        asked = Asked(Address.parse(target), None, None, "bulk.make", "unary")
        bulk.size = 400 * KIB
        # The header gateways tell failures as Go does.
        told = {"the header gateway of rpcx": Status.INTERNAL, "the header gateway of Phobos": None}.get(
            WAYS[name].form, Status.RESOURCE_EXHAUSTED
        )
        assert await WAYS[name].ask(asked) == told
        # Each call ran once. One entry of the batch is a notification, without an answer; by gRPC there are two.
        counts = {"a batch of JSON-RPC": (3, 2), "gRPC": (2, 2)}.get(WAYS[name].form, (1, 1))
        assert (bulk.made, REFUSALS["memory"]) == counts
        await eventually(lambda: bytes_held() < HELD + 64 * KIB)
        # A short one is never dropped.
        bulk.size = 60 * KIB
        assert await WAYS[name].ask(asked) == Status.OK
        bulk.release.set()
        await eventually(lambda: bytes_held() < 64 * KIB)
        bulk.size = 400 * KIB
        assert await WAYS[name].ask(asked) == Status.OK
        assert REFUSALS["memory"] == counts[1]
    assert bytes_held() == 0


@pytest.mark.parametrize("method", [Bulk.make, Bulk.make_later, Bulk.make_raw])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_caller_is_told_that_its_call_ran_and_does_not_try_again(method: Any, kind: str) -> None:
    bulk = Bulk()
    bulk.size = 400 * KIB
    arguments = (b"",) if method is Bulk.make_raw else ()
    async with half_full(bulk) as target:
        with pytest.raises(CallError) as failed:
            if kind == "async":
                async with Client(target) as client:
                    await client.call(method, *arguments)
            else:
                await asyncio.to_thread(call_blocking, target, method, arguments)
        error = failed.value
        assert (error.status, error.processed, error.retryable) == (Status.RESOURCE_EXHAUSTED, "yes", False)
        assert "(Memory.process_bytes)" in str(error)
        assert str(MIB) in str(error)
        assert bulk.made == 1
        assert REFUSALS["memory"] == 1


def call_blocking(target: str, method: Any, arguments: tuple[Any, ...]) -> None:
    with SyncClient(target) as client:
        client.call(method, *arguments)


async def test_http_tells_that_the_call_ran_and_asks_for_no_other_attempt() -> None:
    bulk = Bulk()
    bulk.size = 400 * KIB
    async with half_full(bulk) as target, await HttpClient.to(Address.parse(target)) as client:
        answer = await client.post("/bulk/make", {})
        assert (answer.status, answer.value["code"], answer.value["processed"]) == (
            429,
            "RESOURCE_EXHAUSTED",
            "yes",
        )
        assert "retry-after" not in answer
        assert (await client.post("/jsonrpc", entry(1))).value["error"]["data"] == {
            "code": "RESOURCE_EXHAUSTED",
            "processed": "yes",
        }


async def test_a_compressed_answer_without_room_is_dropped_as_well() -> None:
    bulk = Bulk()
    bulk.size = 400 * KIB
    async with half_full(bulk) as target, Client(target) as client:
        view = client.with_options(compressor="gzip")
        with pytest.raises(CallError, match=r"\(Memory.process_bytes\)"):
            await view.call(Bulk.make_raw, bytes(2 * KIB))
        bulk.release.set()
        await eventually(lambda: bytes_held() < 64 * KIB)
        assert await view.call(Bulk.make_raw, bytes(2 * KIB)) == bytes(400 * KIB)


def entry(number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "bulk.make", "params": {}, "id": number}


@pytest.mark.parametrize("by_socket", [False, True])
async def test_answers_of_a_batch_count_while_they_wait_for_each_other(by_socket: bool) -> None:
    bulk = Bulk()
    bulk.size = 400 * KIB
    async with served(bulk, scheme="tcp", config=CONFIG) as target:
        async with await HttpClient.to(Address.parse(target)) as client:
            entries = [entry(number) for number in range(4)]
            if by_socket:
                from tests.support.socket_client import SocketClient

                socket = SocketClient(client)
                assert (await socket.open("/jsonrpc")).status == 101
                socket.send(entries)
                answers = json.loads((await socket.frame()).content)
            else:
                answers = (await client.post("/jsonrpc", entries)).value
            assert ["result" in answer for answer in answers] == [True, True, False, False]
            assert answers[2]["error"]["data"]["processed"] == "yes"
            assert bulk.made == 4
            await eventually(lambda: bytes_held() < 64 * KIB)
    assert bytes_held() == 0


@fastrpc.service("bulk")
class InTurns(Bulk):
    """Notes in which turns of the loop its calls run."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.turns: set[int] = set()

    def count_turns(self) -> None:
        self.turn += 1
        asyncio.get_running_loop().call_soon(self.count_turns)

    @fastrpc.method
    async def make(self) -> str:
        self.turns.add(self.turn)
        return await super().make()


async def test_a_large_answer_counts_before_the_next_call_is_answered() -> None:
    """Calls of one read are answered before anything of their answers is flushed."""
    bulk = InTurns()
    bulk.size = 400 * KIB
    bulk.count_turns()
    config = ServerConfig(memory=Memory(process_bytes=MIB, send_soft=64 * MIB))
    async with served(bulk, scheme="memory", config=config) as target, Client(target) as client:
        await client.ready()
        # A machine that stalls ends the turn early: the calls are made once more.
        async with asyncio.timeout(20):
            while len(bulk.turns) != 1:
                bulk.turns.clear()
                calls = [client.call(InTurns.make) for _ in range(4)]
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
        # Two fit, the third one is dropped; calls are refused at their start above 85 % only.
        assert [type(outcome) for outcome in outcomes] == [str, str, CallError, CallError]

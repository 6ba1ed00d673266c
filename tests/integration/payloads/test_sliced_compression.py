"""Long requests and answers are compressed in slices: a call may end in every way meanwhile."""

import asyncio
import base64
import contextlib
import gzip
import random
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    DeadlineExceededError,
    EncodeError,
    Memory,
    ServerConfig,
    Status,
    SyncClient,
    current_call,
)
from fastrpc._core.base.histogram import default_registry
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.compressors.base import Payload, compressor_numbers
from tests.support.held_compressor import HeldCompressor, install
from tests.support.proxy import FaultProxy
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import RAW, Frame
from tests.support.served import Served, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

KIB, MIB = 1 << 10, 1 << 20
LONG = 400 * KIB
TEXT = b"word " * (LONG // 5)
NOISE = random.Random(7).randbytes(LONG)

COMPRESSORS = [known.name for known in compressor_numbers().values()]


@fastrpc.service("texts")
class Texts:
    def __init__(self) -> None:
        self.ran = 0
        self.sizes: list[int] = []

    @fastrpc.method(codec="raw")
    async def make(self, size: bytes) -> bytes:
        self.ran += 1
        return b"x" * int(size.strip(b"."))

    @fastrpc.method(codec="raw")
    async def make_later(self, size: bytes) -> bytes:
        await asyncio.sleep(0)
        current_call().reply_metadata["made"] = "later"
        return await self.make(size)

    @fastrpc.method(codec="raw")
    def make_in_thread(self, size: bytes) -> bytes:
        return b"x" * int(size.strip(b"."))

    @fastrpc.method(codec="raw", idempotent=True)
    async def measure(self, data: bytes) -> bytes:
        self.ran += 1
        self.sizes.append(len(data))
        return b"%d" % len(data)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data


#: Asks for a long answer, and is compressed itself, so that its answer is.
ASKS = (b"%d" % LONG).ljust(2 * KIB, b".")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HeldCompressor]]:
    yield from install(monkeypatch)


@contextlib.asynccontextmanager
async def calling(
    texts: Texts, *, config: ServerConfig | None = None, timeout: float | None = 60
) -> AsyncIterator[tuple[Client, Any, Served]]:
    """Yield a client, its view with the compressor that is held, and the server."""
    async with served(texts, scheme="tcp", config=config) as target, Client(target) as client:
        await client.ready()
        yield client, client.with_options(compressor="held", timeout=timeout), target


def gate_of(target: Served) -> Any:
    return target.server._gate


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("data", [TEXT, NOISE], ids=["text", "noise"])
async def test_a_payload_compressed_in_slices_arrives(name: str, data: bytes) -> None:
    texts = Texts()
    async with served(texts, scheme="tcp") as target, FaultProxy(target) as proxy:
        async with Client(proxy.address) as client:
            await client.ready()
            before = proxy.upstream.bytes_passed, proxy.downstream.bytes_passed
            assert await client.with_options(compressor=name).call(Texts.echo, data) == data
            passed = (
                proxy.upstream.bytes_passed - before[0],
                proxy.downstream.bytes_passed - before[1],
            )
            low, high = (0, LONG // 20) if data is TEXT else (LONG, LONG + 2 * KIB)
            assert all(low < count <= high for count in passed)
        assert bytes_held() == 0


@pytest.mark.parametrize("name", ["make", "make_later", "make_in_thread"])
async def test_other_calls_continue_while_an_answer_is_compressed(
    held: type[HeldCompressor], name: str
) -> None:
    async with calling(Texts()) as (client, view, target):
        asked = asyncio.create_task(view.request(getattr(Texts, name), ASKS))
        await eventually(lambda: held.begun == [LONG])
        assert [await client.call(Texts.measure, b"abc") for _ in range(3)] == [b"3"] * 3
        assert gate_of(target).running == 1
        # The answer counts for as long as it is compressed.
        assert LONG <= bytes_held() <= LONG + 16 * KIB
        held.is_held = False
        reply = await asked
        assert len(reply.value) == LONG
        assert reply.metadata == ({"made": "later"} if name == "make_later" else {})
        await eventually(lambda: gate_of(target).running == 0 and bytes_held() == 0)


async def test_a_call_that_is_cancelled_while_its_answer_is_compressed_ends(
    held: type[HeldCompressor],
) -> None:
    counters = default_registry.counters("texts.make", "server")
    before = counters.snapshot()["calls"].get("CANCELLED", 0)
    async with calling(Texts()) as (client, view, target):
        asked = asyncio.create_task(view.call(Texts.make, ASKS))
        await eventually(lambda: held.begun == [LONG])
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await eventually(lambda: gate_of(target).running == 0 and bytes_held() == 0)
        assert counters.snapshot()["calls"]["CANCELLED"] == before + 1
        assert await client.call(Texts.measure, b"abc") == b"3"
        held.is_held = False
        assert await client.call(Texts.measure, b"abc") == b"3"


async def test_a_call_whose_deadline_passes_while_its_answer_is_compressed_is_late(
    held: type[HeldCompressor],
) -> None:
    counters = default_registry.counters("texts.make", "server")
    before = counters.snapshot()["calls"].get("DEADLINE_EXCEEDED", 0)
    async with calling(Texts()) as (_, view, target):
        asked = asyncio.create_task(view.with_options(timeout=1).call(Texts.make, ASKS))
        await eventually(lambda: held.begun == [LONG])
        with pytest.raises(DeadlineExceededError):
            await asked
        await eventually(lambda: gate_of(target).running == 0 and bytes_held() == 0)
        assert counters.snapshot()["calls"]["DEADLINE_EXCEEDED"] == before + 1


async def test_a_lost_connection_ends_the_compression_of_its_answers(held: type[HeldCompressor]) -> None:
    async with served(Texts, scheme="tcp") as target:
        async with Client(target) as client:
            await client.ready()
            view = client.with_options(compressor="held")
            asked = asyncio.create_task(view.call(Texts.make, ASKS))
            await eventually(lambda: held.begun == [LONG])
            [session] = gate_of(target).engines
            session.abort()
            with pytest.raises(fastrpc.ConnectionLostError):
                await asked
            await eventually(lambda: gate_of(target).running == 0 and bytes_held() == 0)


async def test_a_server_that_drains_waits_for_answers_that_are_compressed(
    held: type[HeldCompressor],
) -> None:
    async with calling(Texts()) as (_, view, target):
        asked = asyncio.create_task(view.call(Texts.make, ASKS))
        await eventually(lambda: held.begun == [LONG])
        draining = asyncio.create_task(target.server.drain())
        await eventually(lambda: gate_of(target).runner.is_watched)
        assert not draining.done()
        held.is_held = False
        assert len(await asked) == LONG
        assert await draining
    assert bytes_held() == 0


async def test_the_end_of_a_drain_ends_answers_that_are_compressed(held: type[HeldCompressor]) -> None:
    async with calling(Texts()) as (_, view, target):
        asked = asyncio.create_task(view.call(Texts.make, ASKS))
        await eventually(lambda: held.begun == [LONG])
        assert not await target.server.drain(0.05)
        with pytest.raises(CallError) as failed:
            await asked
        assert (failed.value.status, failed.value.processed) == (Status.UNAVAILABLE, "yes")
        assert gate_of(target).running == 0
    await eventually(lambda: bytes_held() == 0)


async def test_a_server_that_closes_ends_answers_that_are_compressed(held: type[HeldCompressor]) -> None:
    async with calling(Texts()) as (_, view, target):
        asked = asyncio.create_task(view.call(Texts.make, ASKS))
        await eventually(lambda: held.begun == [LONG])
        await target.server.close()
        with pytest.raises(fastrpc.ConnectionLostError):
            await asked
        await eventually(lambda: gate_of(target).running == 0)
    await eventually(lambda: bytes_held() == 0)


async def test_an_answer_whose_compression_fails_is_internal(held: type[HeldCompressor]) -> None:
    held.is_held, held.error = False, ArithmeticError("odd")
    async with calling(Texts()) as (client, view, target):
        with pytest.raises(CallError) as failed:
            await view.call(Texts.make, ASKS)
        assert failed.value.status is Status.INTERNAL
        assert await client.call(Texts.measure, b"abc") == b"3"
        await eventually(lambda: gate_of(target).running == 0 and bytes_held() == 0)


async def test_with_full_memory_an_answer_is_sent_uncompressed(held: type[HeldCompressor]) -> None:
    config = ServerConfig(memory=Memory(process_bytes=MIB))
    async with calling(Texts(), config=config) as (_, view, target):
        asked = asyncio.create_task(view.call(Texts.make, ASKS))
        await eventually(lambda: held.begun == [LONG])
        memory = gate_of(target).memory
        [session] = gate_of(target).engines
        memory.count_answer(session.connection, MIB)
        assert len(await asked) == LONG
        memory.count_answer(session.connection, -MIB)
        await eventually(lambda: bytes_held() == 0)


async def test_an_answer_by_rpcx_is_compressed_in_slices() -> None:
    text = base64.b64encode(random.Random(3).randbytes(6 * MIB))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    config = ServerConfig(protocols=("rpcx",))
    async with served(Texts, scheme="tcp", config=config) as target, rpcx_talk(target.server) as talk:
        frame = Frame(path="texts", method="echo", serialize=RAW, payload=gzip.compress(text), compress=1)
        counting = asyncio.create_task(count())
        answer = await talk.ask(frame)
        counting.cancel()
        assert (answer.compress, gzip.decompress(answer.payload)) == (1, text)
        assert turns > 5
        assert bytes_held() == 0


class TestRequests:
    async def test_other_calls_continue_while_a_request_is_compressed(
        self, held: type[HeldCompressor]
    ) -> None:
        texts = Texts()
        async with calling(texts) as (client, view, _):
            asked = asyncio.create_task(view.request(Texts.measure, TEXT))
            await eventually(lambda: held.begun == [LONG])
            assert await client.call(Texts.measure, b"abc") == b"3"
            assert texts.sizes == [3]
            held.is_held = False
            reply = await asked
            assert (reply.value, reply.attempts) == (b"%d" % LONG, 1)
            # A notification as well.
            await view.notify(Texts.measure, TEXT)
            await eventually(lambda: texts.sizes == [3, LONG, LONG])

    async def test_a_cancelled_call_is_not_sent(self, held: type[HeldCompressor]) -> None:
        texts = Texts()
        async with calling(texts) as (client, view, _):
            asked = asyncio.create_task(view.call(Texts.measure, TEXT))
            await eventually(lambda: held.begun == [LONG])
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            held.is_held = False
            assert await client.call(Texts.measure, b"abc") == b"3"
            assert texts.sizes == [3]

    async def test_a_call_with_an_expired_deadline_is_not_sent(self, held: type[HeldCompressor]) -> None:
        texts = Texts()
        async with calling(texts) as (client, view, _):
            with pytest.raises(DeadlineExceededError) as failed:
                await view.with_options(timeout=0.2).call(Texts.measure, TEXT)
            assert failed.value.processed == "no"
            assert held.begun == [LONG]
            held.is_held = False
            assert await client.call(Texts.measure, b"abc") == b"3"
            assert texts.sizes == [3]

    async def test_one_that_cannot_be_compressed_is_an_encode_error(self, held: type[HeldCompressor]) -> None:
        held.is_held, held.error = False, ArithmeticError("odd")
        texts = Texts()
        async with calling(texts) as (_, view, _):
            with pytest.raises(EncodeError, match="cannot be compressed by held: ArithmeticError"):
                await view.call(Texts.measure, TEXT)
            assert texts.ran == 0

    async def test_a_call_whose_connection_is_lost_during_compression_uses_the_next_one(
        self, held: type[HeldCompressor]
    ) -> None:
        texts = Texts()
        async with calling(texts) as (_, view, target):
            asked = asyncio.create_task(view.request(Texts.measure, TEXT))
            await eventually(lambda: held.begun == [LONG])
            [session] = gate_of(target).engines
            session.abort()
            await eventually(lambda: session not in gate_of(target).engines)
            held.is_held = False
            reply = await asked
            assert (reply.value, reply.attempts) == (b"%d" % LONG, 2)
            assert texts.sizes == [LONG]

    async def test_interceptors_stand_around_the_compression(self, held: type[HeldCompressor]) -> None:
        seen: list[Any] = []

        async def note(call: Any, proceed: Any) -> Any:
            seen.append(list(held.begun))
            value = await proceed(call)
            seen.append(list(held.begun))
            return value

        held.is_held = False
        async with served(Texts, scheme="tcp") as target, Client(target, interceptors=[note]) as client:
            await client.ready()
            view = client.with_options(compressor="held")
            assert await view.call(Texts.measure, TEXT) == b"%d" % LONG
        assert seen == [[], [LONG]]

    @pytest.mark.parametrize("is_connected", [True, False])
    async def test_other_calls_continue_while_calls_of_a_batch_are_compressed(
        self, held: type[HeldCompressor], is_connected: bool
    ) -> None:
        texts = Texts()
        async with served(texts, scheme="tcp") as target, Client(target) as client:
            if is_connected:
                await client.ready()
            view = client.with_options(compressor="held", timeout=60)
            asked = asyncio.create_task(view.call_many(Texts.measure, [(TEXT,), (b"ab",), (TEXT + b"c",)]))
            await eventually(lambda: sorted(held.begun) == [LONG, LONG + 1])
            assert await client.call(Texts.measure, b"abc") == b"3"
            held.is_held = False
            assert await asked == [b"%d" % LONG, b"2", b"%d" % (LONG + 1)]

    async def test_a_peer_that_takes_no_compressor_gets_it_at_once(self, held: type[HeldCompressor]) -> None:
        server_config = ServerConfig(protocols=("rpcx",))
        async with served(Texts, scheme="tcp", config=server_config) as target:
            async with Client(target, config=ClientConfig(wire_protocol="rpcx")) as client:
                view = client.with_options(compressor="held")
                assert await view.call(Texts.measure, TEXT) == b"%d" % LONG
        assert held.begun == []


def test_threads_of_a_blocking_client_do_not_wait_for_a_thread_that_compresses(
    monkeypatch: pytest.MonkeyPatch, held: type[HeldCompressor]
) -> None:
    from tests.support.threaded_server import ThreadedServer

    compressing, may_go_on = threading.Event(), threading.Event()

    def compress(self: HeldCompressor, payload: Payload) -> bytes:
        compressing.set()
        assert may_go_on.wait(20)
        return gzip.compress(payload)

    monkeypatch.setattr(HeldCompressor, "compress", compress)
    monkeypatch.setattr(HeldCompressor, "decompress", lambda self, payload, most: gzip.decompress(payload))
    with ThreadedServer(Texts()) as server, SyncClient(server.address) as client:
        client.ready()
        found: list[bytes] = []
        view = client.with_options(compressor="held")
        thread = threading.Thread(target=lambda: found.append(view.call(Texts.measure, TEXT)))
        thread.start()
        assert compressing.wait(20)
        assert [client.call(Texts.measure, b"abc") for _ in range(5)] == [b"3"] * 5
        assert found == []
        may_go_on.set()
        thread.join(20)
        assert found == [b"%d" % LONG]

"""Calls that come to a server by rpcx, in addition to the recorded ones."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    Keepalive,
    Limits,
    Memory,
    Server,
    ServerConfig,
    Status,
    Timeouts,
    current_call,
)
from fastrpc._core.base.histogram import default_registry
from fastrpc.auth import Identity, StaticTokens
from tests.support.rpcx_talk import RpcxTalk, rpcx_talk
from tests.support.rpcx_wire import JSON, MSGPACK, RAW, Frame, call, metadata_block
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

BOTH = ("native", "rpcx")
TOKENS = StaticTokens({"secret": Identity("gopher"), "other": Identity("mouse")})


class Order(msgspec.Struct):
    item: str
    count: int = 1


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.told: list[str] = []

    @fastrpc.method
    async def price(self, item: str, count: int = 1) -> int:
        return len(item) * count

    @fastrpc.method
    async def order(self, order: Order) -> str:
        return f"{order.count} {order.item}"

    @fastrpc.method
    def in_thread(self, item: str) -> str:
        return item.upper()

    @fastrpc.method
    async def total(self, prices: list[int]) -> int:
        return sum(prices)

    @fastrpc.method
    async def nothing(self) -> None:
        return None

    @fastrpc.method
    async def who(self) -> str:
        identity = current_call().identity
        return "nobody" if identity is None else identity.name

    @fastrpc.method(public=True)
    async def hello(self) -> str:
        return "hello"

    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def tell(self, text: str) -> None:
        self.told.append(text)

    @fastrpc.method
    async def wait(self) -> str:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        return "never"

    @fastrpc.method
    async def sold_out(self, item: str) -> None:
        raise CallError(Status.FAILED_PRECONDITION, f"no {item} left", details={"item": item}, retry_after=2)

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number


@asynccontextmanager
async def talking(
    *, authenticate: Any = None, shop: Shop | None = None, magic: int = 8, **settings: Any
) -> AsyncIterator[RpcxTalk]:
    """Serve a shop by both protocols, and connect by rpcx."""
    config = ServerConfig(**{"protocols": BOTH, **settings})
    async with Server(shop or Shop(), config=config, authenticate=authenticate) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server, magic=magic) as talk:
            talk.server = server
            yield talk


def code(answer: Frame) -> str | None:
    return answer.metadata.get("frpc-code")


@pytest.mark.parametrize("serialize", [MSGPACK, JSON])
@pytest.mark.parametrize(
    ("method", "given", "answer"),
    [
        ("price", {"item": "fig", "count": 2}, 6),
        ("price", {"item": "fig"}, 3),
        ("price", ["fig", 3], 9),
        ("order", {"item": "fig"}, "1 fig"),
        ("in_thread", "fig", "FIG"),
        ("in_thread", {"item": "fig"}, "FIG"),
        ("total", [1, 2, 3], 6),
        ("total", {"prices": [1, 2]}, 3),
        ("nothing", None, None),
        ("hello", {"Ignored": 1}, "hello"),
    ],
)
async def test_arguments_are_one_value(serialize: int, method: str, given: object, answer: object) -> None:
    async with talking() as talk:
        frame = await talk.ask(call("shop", method, given, serialize=serialize))
        assert frame.error is None
        assert frame.value() == answer


@pytest.mark.parametrize(
    ("method", "given", "text"),
    [
        ("price", {"item": "fig", "size": 1}, "size"),
        ("price", {}, "item: missing"),
        ("price", "fig", "the arguments: expected"),
        ("order", {"count": 2}, "item"),
        ("order", "fig", "order"),
        ("total", "fig", "prices"),
        ("count", 3, "answers with a stream"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_and_the_connection_stays(
    method: str, given: object, text: str
) -> None:
    async with talking() as talk:
        answer = await talk.ask(call("shop", method, given))
        assert code(answer) == "INVALID_ARGUMENT"
        assert answer.metadata["frpc-processed"] == "no"
        assert text in str(answer.error)
        assert (await talk.ask(call("shop", "hello"))).value() == "hello"


@pytest.mark.parametrize(
    ("path", "method"), [("shop", "sell"), ("Shop", "price"), ("", ""), ("shop", "x.price"), ("s" * 600, "m")]
)
async def test_unknown_names_are_unimplemented(path: str, method: str) -> None:
    async with talking() as talk:
        answer = await talk.ask(call(path, method, sequence=7))
        assert code(answer) == "UNIMPLEMENTED"
        assert answer.sequence == 7


async def test_an_error_tells_code_details_and_pause() -> None:
    async with talking() as talk:
        answer = await talk.ask(call("shop", "sold_out", "figs", serialize=JSON))
        assert answer.error == "no figs left"
        assert code(answer) == "FAILED_PRECONDITION"
        assert answer.metadata["frpc-retry-after-ms"] == "2000"
        details = answer.metadata["frpc-details-bin"].encode("utf-8", "surrogateescape")
        assert msgspec.msgpack.decode(details) == {"item": "figs"}
        assert answer.payload == b""


async def test_metadata_arrives_in_lower_case_and_a_reserved_key_is_refused() -> None:
    seen: dict[str, str] = {}

    @fastrpc.service("meta")
    class Meta:
        @fastrpc.method
        async def show(self) -> None:
            seen.update(current_call().metadata)

    async with Server(Meta(), config=ServerConfig(protocols=BOTH)) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            assert (await talk.ask(call("meta", "show", metadata={"Trace-ID": "é", "a": ""}))).error is None
            assert seen == {"trace-id": "é", "a": ""}
            answer = await talk.ask(call("meta", "show", metadata={"frpc-code": "x"}))
            assert code(answer) == "INVALID_ARGUMENT"
            assert "metadata" in str(answer.error)
            answer = await talk.ask(call("meta", "show", metadata={"text": "\udcff"}))
            assert "not UTF-8" in str(answer.error)


async def test_metadata_over_its_limit_is_refused() -> None:
    async with talking(limits=Limits(metadata_bytes=1024)) as talk:
        answer = await talk.ask(call("shop", "hello", metadata={"long": "x" * 2000}))
        assert code(answer) == "RESOURCE_EXHAUSTED"
        assert "metadata_bytes" in str(answer.error)
        # Each entry counts 32 bytes in addition to its own.
        answer = await talk.ask(call("shop", "hello", metadata={f"{n}": "" for n in range(60)}))
        assert "metadata_bytes" in str(answer.error)


async def test_a_deadline_ends_the_handler_and_is_answered() -> None:
    shop = Shop()
    async with talking(shop=shop) as talk:
        # A stall takes all of the time before the handler begins.
        while not shop.started.is_set():
            answer = await talk.ask(call("shop", "wait", metadata={"__ServerTimeout": "30"}))
            assert code(answer) == "DEADLINE_EXCEEDED"
        await eventually(shop.stopped.is_set)
        answer = await talk.ask(call("shop", "hello", metadata={"__ServerTimeout": "0"}))
        assert code(answer) == "DEADLINE_EXCEEDED"
        for text in ("soon", "", "-", "99999999999999999999"):
            assert (await talk.ask(call("shop", "hello", metadata={"__ServerTimeout": text}))).error is None


async def test_a_one_way_call_runs_and_is_never_answered() -> None:
    shop = Shop()
    async with talking(shop=shop) as talk:
        talk.send(call("shop", "tell", "a", one_way=True), call("shop", "tell", 5, one_way=True))
        talk.send(call("shop", "sell", one_way=True), call("shop", "sold_out", "figs", one_way=True))
        assert (await talk.ask(call("shop", "hello", sequence=9))).sequence == 9
        assert shop.told == ["a"]


async def test_the_end_of_a_connection_cancels_its_calls() -> None:
    shop = Shop()
    async with talking(shop=shop) as talk:
        talk.send(call("shop", "wait"))
        await shop.started.wait()
        talk.writer.close()
        await shop.stopped.wait()


async def test_a_heartbeat_is_echoed_unchanged() -> None:
    async with talking(authenticate=TOKENS) as talk:
        beat = Frame(
            path="any", method="thing", metadata={"k": "v"}, payload=b"123", heartbeat=True, one_way=True
        )
        assert await talk.ask(beat) == replace(beat, response=True)


async def test_each_call_has_its_own_token() -> None:
    async with talking(authenticate=TOKENS) as talk:
        for token, name in (("secret", "gopher"), ("Bearer other", "mouse"), ("secret", "gopher")):
            assert (await talk.ask(call("shop", "who", metadata={"__AUTH": token}))).value() == name
        # A public method needs no token.
        assert (await talk.ask(call("shop", "hello"))).value() == "hello"


@pytest.mark.parametrize("metadata", [{}, {"__AUTH": "wrong"}])
async def test_a_refused_token_lets_running_calls_finish_and_closes(metadata: dict[str, str]) -> None:
    release = asyncio.Event()

    @fastrpc.service("slow")
    class Slow:
        @fastrpc.method
        async def wait(self) -> str:
            await release.wait()
            return "done"

    async with Server(Slow(), config=ServerConfig(protocols=BOTH), authenticate=TOKENS) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            talk.send(call("slow", "wait", sequence=1, metadata={"__AUTH": "secret"}))
            refused = await talk.ask(call("slow", "wait", sequence=2, metadata=metadata))
            assert (refused.sequence, code(refused)) == (2, "UNAUTHENTICATED")
            # Nothing more is taken.
            talk.send(call("slow", "wait", sequence=3, metadata={"__AUTH": "secret"}))
            release.set()
            assert (await talk.hear()).sequence == 1
            assert await talk.is_closed()


async def test_heartbeats_do_not_end_the_opening_but_a_good_token_does() -> None:
    async with talking(authenticate=TOKENS, timeouts=Timeouts(handshake=2)) as talk:
        await talk.ask(Frame(heartbeat=True))
        assert await talk.is_closed()
    async with talking(authenticate=TOKENS, timeouts=Timeouts(handshake=20)) as talk:
        assert (await talk.ask(call("shop", "who", metadata={"__AUTH": "secret"}))).error is None
        assert len(talk.server._accepting.openings) == 0


async def test_compressed_requests_are_inflated_within_the_limit() -> None:
    async with talking(limits=Limits(message_bytes=100_000)) as talk:
        data = b"x" * 50_000
        packed = Frame(path="shop", method="echo", serialize=RAW, payload=gzip.compress(data), compress=1)
        answer = await talk.ask(packed)
        assert answer.compress == 1
        assert answer.inflated() == data
        bomb = await talk.ask(replace(packed, payload=gzip.compress(bytes(200_000))))
        assert code(bomb) == "RESOURCE_EXHAUSTED"
        broken = await talk.ask(replace(packed, payload=b"no gzip"))
        assert code(broken) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("size", [100_000, 3_000_000])
async def test_long_frames_arrive_whole(size: int) -> None:
    data = bytes(range(256)) * (size // 256)
    async with talking() as talk:
        talk.send(*[call("shop", "echo", data, serialize=RAW, sequence=n) for n in range(3)])
        talk.send(call("shop", "hello", sequence=3))
        answers = [await talk.hear() for _ in range(4)]
        assert [answer.sequence for answer in answers] == [0, 1, 2, 3]
        assert all(answer.payload == data for answer in answers[:3])


async def test_a_frame_over_the_limit_is_refused_by_its_header() -> None:
    async with talking(limits=Limits(message_bytes=10_000)) as talk:
        header = call("shop", "echo", sequence=5).encode()[:12] + (2**31).to_bytes(4, "big")
        answer = await talk.ask(header)
        assert (answer.sequence, code(answer)) == (5, "RESOURCE_EXHAUSTED")
        assert "message_bytes" in str(answer.error)
        assert await talk.is_closed()


async def test_a_frame_over_the_memory_of_its_connection_is_refused_and_skipped() -> None:
    async with talking(limits=Limits(message_bytes=300_000), memory=Memory(request_bytes=300_000)) as talk:
        answer = await talk.ask(call("shop", "echo", bytes(300_010), serialize=RAW))
        assert code(answer) == "RESOURCE_EXHAUSTED"
        assert "request_bytes" in str(answer.error)
        assert (await talk.ask(call("shop", "hello"))).value() == "hello"


async def test_calls_over_the_limit_of_a_connection_are_refused() -> None:
    async with talking(limits=Limits(concurrent_calls=2)) as talk:
        talk.send(*[call("shop", "wait", sequence=n) for n in range(3)])
        answer = await talk.hear()
        assert (answer.sequence, code(answer)) == (2, "RESOURCE_EXHAUSTED")


GOOD = call("shop", "hello").encode()


@pytest.mark.parametrize(
    "data",
    [
        b"\x09" + GOOD[1:],
        GOOD[:12] + (15).to_bytes(4, "big") + GOOD[16:],
        GOOD[:16] + (2**32 - 1).to_bytes(4, "big") + GOOD[20:],
        GOOD[:2] + b"\x0c" + GOOD[3:],
        replace(call("shop", "hello"), metadata={}).encode()[:-9] + b"\0\0\0\4abcd\0\0\0\1\xc0",
        GOOD[:12] + (len(GOOD) - 16 + 1).to_bytes(4, "big") + GOOD[16:] + b"x",
    ],
    ids=["magic", "short", "path", "compressor", "metadata", "behind"],
)
async def test_a_frame_that_makes_no_sense_closes_after_the_calls_before_it(data: bytes) -> None:
    async with talking() as talk:
        talk.send(call("shop", "in_thread", "a", sequence=4), data, call("shop", "hello", sequence=6))
        assert (await talk.hear()).sequence == 4
        assert await talk.is_closed()


async def test_a_connection_that_is_silent_in_a_frame_is_closed() -> None:
    async with talking(keepalive=Keepalive(interval=0.1, timeout=0.1)) as talk:
        assert (await talk.ask(call("shop", "hello"))).value() == "hello"
        talk.send(GOOD[:20])
        assert await talk.is_closed()


async def test_an_idle_connection_is_closed() -> None:
    async with talking(timeouts=Timeouts(idle=0.1)) as talk:
        # A stall makes it idle before its call.
        with contextlib.suppress(EOFError, ConnectionError):
            await talk.ask(call("shop", "hello"))
        assert await talk.is_closed()


async def test_a_drain_serves_on_until_a_second_without_calls() -> None:
    release = asyncio.Event()

    @fastrpc.service("slow")
    class Slow:
        @fastrpc.method
        async def wait(self) -> bool:
            await release.wait()
            return current_call().draining.__class__ is not None

    server = Server(Slow(), Shop(), config=ServerConfig(protocols=BOTH))
    async with server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            talk.send(call("slow", "wait", sequence=1))
            await eventually(lambda: server._gate.running == 1)
            stopping = asyncio.ensure_future(server.drain())
            await eventually(lambda: next(iter(server._gate.engines)).connection.is_draining)
            assert (await talk.ask(call("shop", "hello", sequence=2))).sequence == 2
            release.set()
            assert (await talk.hear()).sequence == 1
            assert await talk.is_closed()
            await stopping


async def test_calls_of_rpcx_have_separate_counters() -> None:
    async with talking() as talk:
        counters = default_registry.counters("shop.hello", "server", "rpcx")
        before = counters.snapshot()["calls"].get("OK", 0)
        await talk.ask(call("shop", "hello"))
        assert counters.snapshot()["calls"]["OK"] == before + 1


async def test_phobos_has_its_own_magic_and_error_key_and_stays_open() -> None:
    async with talking(magic=0x42, protocols=("rpcx", "phobos"), authenticate=TOKENS) as talk:
        refused = await talk.ask(call("shop", "who", metadata={"__AUTH": "wrong"}))
        assert refused.status == 1
        assert refused.metadata["__phobos_error__"]
        assert (await talk.ask(call("shop", "who", metadata={"__AUTH": "secret"}))).value() == "gopher"
        packed = Frame(
            path="shop", method="echo", serialize=RAW, payload=gzip.compress(b"x" * 9000), compress=1
        )
        answer = await talk.ask(replace(packed, metadata={"__AUTH": "secret"}))
        assert (answer.compress, len(answer.payload)) == (0, 9000)


async def test_a_native_client_calls_the_same_port() -> None:
    async with talking() as talk:
        [listener] = talk.server._listening.listeners
        async with Client(str(listener.address)) as client:
            assert await client.call("shop.price", "fig", 2) == 6


def test_metadata_of_the_reference_keeps_the_order() -> None:
    assert metadata_block([("a", "1"), ("a", "2")]).count(b"a") == 2


async def test_a_long_frame_may_be_the_first_to_show_a_token() -> None:
    large = call("shop", "echo", bytes(300_000), metadata={"__AUTH": "secret"})
    async with talking(authenticate=TOKENS) as talk:
        assert (await talk.ask(large)).value() == bytes(300_000)
    async with talking(authenticate=TOKENS) as talk:
        assert code(await talk.ask(replace(large, metadata={"__AUTH": "wrong"}))) == "UNAUTHENTICATED"

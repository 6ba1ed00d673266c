"""Phobos and its recordings: deadlines, the magic of its processes, and our client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    Endpoint,
    Keepalive,
    Limits,
    Server,
    ServerConfig,
    Status,
    Timeouts,
    current_call,
)
from fastrpc.auth import Identity, StaticTokens
from fastrpc.client.wire import carries_streams, wire_of
from tests.support.either_client import CLIENTS, connected
from tests.support.http_talk import HttpClient
from tests.support.peer_writing import write_to
from tests.support.phobos_arith import Functions
from tests.support.rpcx_arith import Args
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import RAW, Frame, RpcxParser, answered_with, call
from tests.support.waiting import eventually

MAGIC = {"rpcx": 0x08, "phobos": 0x42}
TOKENS = StaticTokens({"secret": Identity("gopher")})


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.told: list[str] = []

    @fastrpc.method
    async def remaining(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method(timeout=30)
    async def bounded(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def tell(self, text: str) -> None:
        self.told.append(text)

    @fastrpc.method
    async def metadata(self) -> dict[str, str]:
        return dict(current_call().metadata)

    @fastrpc.method
    async def push(self) -> None:
        client: Any = current_call().peer.client  # type: ignore[union-attr]
        await client.with_options(codec="raw").notify("news.told", b"hello")


@contextlib.asynccontextmanager
async def serving(*protocols: str, **options: Any) -> AsyncIterator[tuple[Server, str, Shop]]:
    shop = Shop()
    settings = {name: options.pop(name) for name in ("timeouts", "limits") if name in options}
    config = ServerConfig(protocols=protocols, **settings)
    services = (shop, Functions()) if "phobos" in protocols else (shop,)
    async with Server(*services, config=config, **options) as server:
        yield server, str(await server.listen("tcp://127.0.0.1:0")), shop


def config(**options: Any) -> ClientConfig:
    return ClientConfig(wire_protocol="phobos", **options)


# Deadlines


@pytest.mark.parametrize("wire", ["rpcx", "phobos"])
async def test_a_call_without_a_stated_deadline_has_only_the_limits_of_method_and_server(
    wire: str,
) -> None:
    async with serving("http", wire, timeouts=Timeouts(call=5.0)) as (server, target, _):
        async with rpcx_talk(server, magic=MAGIC[wire]) as talk:
            assert (await talk.ask(call("shop", "remaining"))).value() is None
            assert 5 < (await talk.ask(call("shop", "bounded"))).value() <= 30
        # Callers who could state one have the server's default.
        async with await HttpClient.to(target) as http:
            assert 0 < (await http.post("/shop/remaining", {})).value <= 5
    async with serving(wire, limits=Limits(longest_call=20.0)) as (server, _, _):
        async with rpcx_talk(server, magic=MAGIC[wire]) as talk:
            assert 5 < (await talk.ask(call("shop", "remaining"))).value() <= 20


async def test_only_rpcx_states_a_deadline_in_metadata() -> None:
    stated = {"__ServerTimeout": "20000"}
    async with serving("rpcx", "phobos") as (server, _, _):
        async with rpcx_talk(server) as talk:
            assert 5 < (await talk.ask(call("shop", "remaining", metadata=stated))).value() <= 20
        async with rpcx_talk(server, magic=0x42) as talk:
            assert (await talk.ask(call("shop", "remaining", metadata=stated))).value() is None
            seen = (await talk.ask(call("shop", "metadata", metadata=stated))).value()
            assert seen == {"__servertimeout": "20000"}


# The magic


@pytest.mark.parametrize("protocols", [("phobos",), ("native", "phobos"), ("http", "phobos")])
async def test_a_process_that_served_rpcx_is_answered_with_its_magic(protocols: tuple[str, ...]) -> None:
    async with serving(*protocols) as (server, _, _):
        async with rpcx_talk(server, magic=0x42) as talk:
            for magic in (0x08, 0x42, 0x00, 0xF5):
                talk.send(call("shop", "echo", "a", sequence=magic).encode(magic))
                answer = await talk.hear()
                assert (answer.magic, answer.value()) == (magic, "a")
        async with rpcx_talk(server, magic=0x42) as talk:
            talk.send(call("shop", "nothing").encode(0x08))
            answer = await talk.hear()
            assert (answer.magic, answer.metadata["__phobos_error__"]) == (
                0x08,
                "phobos: can't find method nothing",
            )


@pytest.mark.parametrize("protocols", [("rpcx", "phobos"), ("phobos", "rpcx"), ("phobos", "native", "rpcx")])
async def test_a_port_of_both_answers_the_magic_of_rpcx_so_that_both_clients_understand(
    protocols: tuple[str, ...],
) -> None:
    async with serving(*protocols) as (server, _, _):
        async with rpcx_talk(server) as talk:
            assert (await talk.ask(call("shop", "echo", "a"))).value() == "a"
            answer = await talk.ask(call("shop", "nothing"))
            text = "rpcx: can't find method nothing"
            assert (answer.metadata["__rpcx_error__"], answer.metadata["__phobos_error__"]) == (text, text)
            assert server.peers()[0].protocol == "rpcx"
        async with rpcx_talk(server, magic=0x42) as talk:
            answer = await talk.ask(call("shop", "nothing"))
            assert "__rpcx_error__" not in answer.metadata


async def test_a_server_of_rpcx_alone_has_its_own_key_and_takes_its_own_magic_only() -> None:
    async with serving("native", "rpcx") as (server, _, _):
        async with rpcx_talk(server) as talk:
            assert "__phobos_error__" not in (await talk.ask(call("shop", "nothing"))).metadata
            talk.send(call("shop", "echo", "a").encode(0x42))
            assert await talk.is_closed()
        async with rpcx_talk(server, magic=0x42) as talk:
            talk.send(call("shop", "echo", "a"))
            assert await talk.is_closed()


# Our client


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_calls_a_server_of_phobos(kind: str) -> None:
    async with serving("phobos") as (_, target, shop):
        async with connected(kind, target, config=config()) as client:
            assert await client.call(Shop.echo, "a") == "a"
            assert await client.call("shop.echo", "b") == "b"
            assert await client.call(Functions.add, Args(1, 2)) is not None
            assert await client.call(".add", {"A": 1, "B": 2}) == {"C": 3}
            await client.notify(Shop.tell, "told")
            with pytest.raises(CallError, match="function failed"):
                await client.call(".fail", {})
            with pytest.raises(CallError) as caught:
                await client.call("shop.nothing")
            assert (caught.value.status, caught.value.message) == (
                Status.UNIMPLEMENTED,
                "phobos: can't find method nothing",
            )
            await eventually(lambda: shop.told == ["told"])


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_refused_token_keeps_the_connection(kind: str) -> None:
    async with serving("phobos", authenticate=TOKENS) as (server, target, _):
        async with connected(kind, target, config=config(), credentials="wrong") as client:
            for _ in range(2):
                with pytest.raises(CallError) as caught:
                    await client.call(Shop.echo, "a")
                assert caught.value.status is Status.UNAUTHENTICATED
            good = client.with_options(metadata={"authorization": "secret"})
            assert await good.call(Shop.echo, "a") == "a"
            assert len(server.peers()) == 1


class Recorder:
    """A server that notes frames and answers each with its method; it answers a held call with "late"."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.writer: asyncio.StreamWriter
        #: Calls of this method are answered after the next heartbeat.
        self.held: str | None = None
        self.waiting: Frame | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser, self.writer = RpcxParser(None), writer
        while data := await reader.read(65_536):
            for frame in parser.feed(data):
                self.frames.append(frame)
                if frame.method == self.held and not frame.heartbeat:
                    self.waiting = frame
                    continue
                if not frame.one_way:
                    write_to(writer, answered_with(frame, frame.method).encode(0x08))
                if frame.heartbeat and self.waiting is not None:
                    write_to(writer, answered_with(self.waiting, "late").encode(0x08))
                    self.waiting = None
        writer.close()

    @property
    def beats(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.heartbeat]


@contextlib.asynccontextmanager
async def recording() -> AsyncIterator[tuple[str, Recorder]]:
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"tcp://{host}:{port}", recorder
    finally:
        server.close()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_requests_have_no_deadline_and_are_never_compressed(kind: str) -> None:
    async with recording() as (target, recorder):
        async with connected(kind, target, config=config(compressor="gzip")) as client:
            assert await client.with_options(timeout=30).call("shop.echo", "x" * 5_000) == "echo"
        [frame] = [one for one in recorder.frames if one.method]
        assert (frame.compress, frame.metadata, frame.value()) == (0, {}, "x" * 5_000)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_heartbeats_bring_the_token_and_nothing_else(kind: str) -> None:
    keepalive = Keepalive(interval=0.05, timeout=10.0)
    async with recording() as (target, recorder):
        options = {"config": config(keepalive=keepalive), "credentials": "secret"}
        async with connected(kind, target, **options) as client:
            # A blocking client beats while it waits.
            recorder.held = "late"
            assert await client.with_options(timeout=30).call("shop.late", "a") == "late"
        beat = recorder.beats[0]
        assert (beat.magic, beat.serialize, beat.payload, beat.path, beat.method) == (0x42, RAW, b"", "", "")
        assert beat.metadata == {"__AUTH": "secret"}


async def test_a_late_answer_is_dropped_and_a_refused_heartbeat_proves_life() -> None:
    refused = {"__phobos_error__": "invalid token"}
    async with recording() as (target, recorder):
        async with Client(target, config=config()) as client:
            assert await client.call("shop.echo", "a") == "echo"
            beat = Frame(sequence=7, response=True, heartbeat=True, status=1, metadata=refused, serialize=RAW)
            late = Frame(sequence=9, response=True, path="shop", method="late", payload=b"\xc0")
            write_to(recorder.writer, beat.encode(0x42) + late.encode(0x42))
            assert await client.call("shop.echo", "a") == "echo"


@fastrpc.service("news")
class News:
    def __init__(self) -> None:
        self.told_of: list[bytes] = []

    @fastrpc.method("told")
    async def on_told(self, data: bytes) -> None:
        self.told_of.append(data)


@pytest.mark.parametrize("magic", [0x42, 0x08])
async def test_pushes_of_either_magic_are_served(magic: int) -> None:
    news = News()
    async with recording() as (target, recorder):
        async with Client(target, config=config(), services=[news]) as client:
            assert await client.call("shop.echo", "a") == "echo"
            push = Frame(path="news", method="told", serialize=RAW, one_way=True, sequence=1, payload=b"x")
            write_to(recorder.writer, push.encode(magic))
            await eventually(lambda: news.told_of == [b"x"])


async def test_our_server_pushes_to_our_client() -> None:
    news = News()
    async with (
        serving("phobos") as (_, target, _),
        Client(target, config=config(), services=[news]) as client,
    ):
        await client.call(Shop.push)
        await eventually(lambda: news.told_of == [b"hello"])


@pytest.mark.parametrize(
    ("protocols", "wire"),
    [
        (("phobos",), "phobos"),
        (("phobos", "rpcx"), "rpcx"),
        (("rpcx", "phobos", "native"), "native"),
        (("http",), "native"),
        ((), "native"),
    ],
)
def test_the_record_of_an_endpoint_states_its_protocols(protocols: tuple[str, ...], wire: str) -> None:
    assert wire_of(Endpoint("tcp://h:1", protocols=protocols), ClientConfig()) == wire
    assert wire_of(Endpoint("tcp://h:1", protocols=protocols), config()) == "phobos"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_record_alone_makes_a_client_speak_phobos(kind: str) -> None:
    async with serving("phobos") as (_, target, _):
        async with connected(kind, Endpoint(target, protocols=["phobos"])) as client:
            assert await client.call(Shop.echo, "a") == "a"


# Bare functions


async def test_bare_functions_need_phobos() -> None:
    with pytest.raises(ConfigError, match="bare functions, which only Phobos offers"):
        async with Server(Functions(), config=ServerConfig(protocols=("native", "rpcx"))):
            pass


def test_a_stream_cannot_go_by_phobos() -> None:
    assert not carries_streams(Endpoint("tcp://h:1"), config())

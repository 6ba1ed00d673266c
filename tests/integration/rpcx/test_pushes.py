"""Pushes of a server over rpcx: the frames of `Peer.client`, and the calls that they become at a client."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConnectionLostError,
    DeadlineExceededError,
    Memory,
    Server,
    ServerConfig,
    Status,
    current_call,
)
from tests.integration.rpcx.test_served_calls import Order
from tests.support.peer_writing import write_to
from tests.support.rpcx_link import TranslatedRpcx
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_vectors import recordings
from tests.support.rpcx_wire import JSON, MSGPACK, RAW, Frame, call, frames_in
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

RPCX = ServerConfig(protocols=("rpcx",))
LONG = bytes(range(256)) * 1_000


@fastrpc.service("news")
class News:
    """The service of clients."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @fastrpc.method
    async def first(self, data: bytes) -> None:
        self.heard.append((data, current_call().metadata.get("n")))

    @fastrpc.method
    async def ordered(self, order: Order) -> None:
        self.heard.append(order)

    @fastrpc.method
    async def moved(self, item: str, price: int = 0) -> None:
        self.heard.append((item, price))

    @fastrpc.method
    async def asked(self) -> str:
        return "an answer"


@fastrpc.service("desk")
class Desk:
    """Pushes to whoever calls."""

    @fastrpc.method
    async def push(self) -> int:
        client = current_call().peer.client
        assert client is not None
        await client.notify(News.moved, "fig", price=3)
        await client.notify(News.ordered, Order("pear", 2))
        await client.with_options(codec="raw", metadata={"n": "1"}).notify("news.first", LONG)
        await client.with_options(codec="json").notify("news.moved", item="plum", price=4)
        return 4


async def test_a_notification_is_a_message_of_the_server() -> None:
    async with Server(Desk(), config=RPCX) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            talk.send(call("desk", "push"))
            pushes = [await talk.hear() for _ in range(4)]
            answer = await talk.hear()
    assert [(push.one_way, push.response, push.heartbeat, push.path) for push in pushes] == [
        (True, False, False, "news")
    ] * 4
    assert [push.sequence for push in pushes] == [1, 2, 3, 4]
    assert [push.serialize for push in pushes] == [MSGPACK, MSGPACK, RAW, JSON]
    assert [pushes[at].value() for at in (0, 1, 3)] == [
        {"item": "fig", "price": 3},
        {"item": "pear", "count": 2},
        {"item": "plum", "price": 4},
    ]
    assert (pushes[2].payload, pushes[2].metadata) == (LONG, {"n": "1"})
    assert (answer.response, answer.value()) == (True, 4)


async def test_a_client_with_services_serves_the_pushes() -> None:
    news = News()
    async with Server(Desk(), config=RPCX) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        config = ClientConfig(wire_protocol="rpcx")
        async with Client(address, config=config, services=[news]) as client:
            assert await client.call(Desk.push) == 4
            await eventually(lambda: len(news.heard) == 4)
    assert sorted(news.heard, key=repr) == sorted(
        [("fig", 3), Order("pear", 2), (LONG, "1"), ("plum", 4)], key=repr
    )


async def test_pushes_of_go_are_bytes(caplog: pytest.LogCaptureFixture) -> None:
    pushes = b"".join(
        frame.encode() for frame in frames_in(recordings()["push"].from_server) if frame.one_way
    )
    news = News()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        strange = Frame(path="news", method="first", one_way=True, metadata={"FRPC-x": "1"}, payload=b"\xc0")
        write_to(
            writer,
            pushes
            + strange.encode() * 1_000
            + call("news", "moved", {"item": "kiwi"}, one_way=True).encode(),
        )
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        target = f"tcp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        config = ClientConfig(wire_protocol="rpcx")
        async with Client(target, config=config, services=[news]) as client:
            await client.ready(10)
            await eventually(lambda: len(news.heard) == 2)
    assert sorted(news.heard, key=repr) == [("kiwi", 0), (b"hello from the server", None)]
    dropped = [record.getMessage() for record in caplog.records if "dropped a push" in record.getMessage()]
    # Further ones would be counted a minute later.
    assert len(dropped) == 1
    assert "its name has 1 bytes" in dropped[0]


def test_a_push_is_dropped_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    client = TranslatedRpcx(takes_pushes=True)
    client.open()
    strange = Frame(path="news", method="first", one_way=True, metadata={"FRPC-x": "1"}, payload=b"\xc0")
    assert client.hear(strange) == []
    [record] = caplog.records
    assert "frpc- is reserved" in record.getMessage()


async def test_other_verbs_are_refused() -> None:
    async with Server(Desk(), config=RPCX) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            assert (await talk.ask(Frame(heartbeat=True))).heartbeat
            [peer] = server.peers()
            client = peer.client
            assert client is not None
            with pytest.raises(CallError, match="speaks rpcx, whose clients answer no calls"):
                await client.call(News.asked)
            with pytest.raises(CallError) as caught:
                async with client.stream("news.items") as stream:
                    await stream.receive()
            assert caught.value.status is Status.UNIMPLEMENTED
            with pytest.raises(CallError, match="answer no calls"):
                await client.call_many(News.moved, [("fig",)])
        await client.wait_closed()
        with pytest.raises(ConnectionLostError, match="the call was not sent"):
            await client.notify(News.moved, "fig")


async def test_a_peer_that_reads_nothing_holds_the_pushes() -> None:
    config = ServerConfig(protocols=("rpcx",), memory=Memory(send_soft=1_000_000))
    async with Server(Desk(), config=config) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            assert (await talk.ask(Frame(heartbeat=True))).heartbeat
            [peer] = server.peers()
            assert peer.client is not None
            client = peer.client.with_options(codec="raw", timeout=0.2)
            with pytest.raises(DeadlineExceededError, match="does not take what was sent before"):
                for _ in range(1_000):
                    await client.notify("news.first", bytes(1_000_000))
            waiting = asyncio.ensure_future(client.with_options(timeout=30).notify("news.first", b"later"))
            while (await talk.hear()).payload != b"later":
                pass
            await waiting

"""gRPC's health protocol, whose requests and answers match `fastrpc.health`."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import Client, Identity, Server, ServerConfig, Status
from fastrpc.auth import StaticTokens
from tests.integration.grpc.test_unary_calls import channel
from tests.support.grpc_bytes import message, number_field, text_field
from tests.support.grpc_peer import grpc_peer
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

CONFIG = ServerConfig(protocols=("native", "grpc"))
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = (number_field(number) for number in (1, 2, 3))


@fastrpc.service("shop.v1.order_items", grpc="pascal")
class Items:
    @fastrpc.method
    async def count(self) -> int:
        return 0


async def test_a_check_asks_for_the_server_or_a_service() -> None:
    async with Server(Raw(), Items(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with channel(address) as client:
            check = client.unary_unary(CHECK)
            names = ("", "test.v1.Raw", "shop.v1.order_items", "shop.v1.OrderItems", "grpc.health.v1.Health")
            for name in names:
                assert await check(text_field(name)) == SERVING
            server.set_serving(False, service="shop.v1.OrderItems")
            assert [await check(text_field(name)) for name in names[1:4]] == [
                SERVING,
                NOT_SERVING,
                NOT_SERVING,
            ]
            server.set_serving(False)
            assert await check(b"") == NOT_SERVING
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await check(text_field("nope"))
            assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        async with Client(address) as native:
            assert await native.call("fastrpc.health.check", "nope") == "SERVICE_UNKNOWN"


async def test_a_watch_tells_each_state_until_the_drain() -> None:
    async with Server(Raw(), config=CONFIG) as server:
        async with channel(await server.listen("tcp://127.0.0.1:0")) as client:
            states = client.unary_stream(WATCH)(b"")
            unknown = client.unary_stream(WATCH)(text_field("later"))
            assert (await states.read(), await unknown.read()) == (SERVING, SERVICE_UNKNOWN)
            unknown.cancel()
            for serving, state in ((False, NOT_SERVING), (True, SERVING)):
                server.set_serving(serving)
                assert await states.read() == state
            await server.drain()
            assert await states.read() == NOT_SERVING
            assert await states.code() is grpc.StatusCode.UNAVAILABLE


async def test_it_needs_an_identity_and_policies_see_the_canonical_name() -> None:
    seen: list[str] = []

    def allow(_: Any, route: Any) -> bool:
        seen.append(route.full_name)
        return True

    tokens = StaticTokens({"secret": Identity("ada")})
    async with Server(Raw(), config=CONFIG, authenticate=tokens, authorize=allow) as server:
        async with grpc_peer(await server.listen("tcp://127.0.0.1:0")) as peer:
            assert (await peer.call(CHECK, b"")).status == Status.UNAUTHENTICATED
            answer = await peer.call(CHECK, b"", [("authorization", "Bearer secret")])
            assert answer.messages == [SERVING]
    assert set(seen) == {"fastrpc.health.check"}


@fastrpc.service("grpc.health.v1.Health")
class Own:
    @fastrpc.method(codec="raw")
    async def Check(self, request: bytes) -> bytes:
        return b"own"

    @fastrpc.method(codec="raw")
    async def Watch(self, request: bytes) -> AsyncIterator[bytes]:
        yield b"own"


async def test_a_registered_servicer_takes_its_place() -> None:
    async with Server(Own(), config=CONFIG) as server:
        async with grpc_peer(await server.listen("tcp://127.0.0.1:0")) as peer:
            assert (await peer.call(CHECK, b"")).messages == [b"own"]
            assert (await peer.call(WATCH, b"")).data == message(b"own")
            # The native one stays.
            answer = await peer.call("/fastrpc.health/check", b"")
            assert answer.messages == [text_field("SERVING")]


async def test_watches_leave_nothing() -> None:
    async with Server(Raw(), config=CONFIG) as server:
        async with channel(await server.listen("tcp://127.0.0.1:0")) as client:
            states = client.unary_stream(WATCH)(b"")
            assert await states.read() == SERVING
            states.cancel()
            await eventually(lambda: server.stats()["live"]["calls"] == 0)
            assert len(server._health.watchers) == 0

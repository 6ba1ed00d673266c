"""A client engine in Python calls through the ordinary clients: calls know no protocol."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    ConnectionLostError,
    DeadlineExceededError,
    EncodeError,
    Keepalive,
    ServerConfig,
    Status,
    SyncClient,
    Timeouts,
)
from fastrpc.config.validation import WIRE_PROTOCOLS
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import ClientTraits, client_protocol, register
from tests.support import toy_client
from tests.support.either_client import CLIENTS, connected, either
from tests.support.peer_writing import write_to
from tests.support.served import served
from tests.support.shop import Shop
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

TOY = ClientConfig(wire_protocol="toy", codec="json")
BOTH = ServerConfig(protocols=("native", "toy"))

both_clients = pytest.mark.parametrize("kind", CLIENTS)


@asynccontextmanager
async def calling(
    kind: str, *sources: Any, scheme: str = "tcp", config: ClientConfig = TOY
) -> AsyncIterator[Any]:
    async with either(kind, *sources, scheme=scheme, server_config=BOTH, config=config) as client:
        yield client


@asynccontextmanager
async def peer(answer: Callable[[int, str], str | None]) -> AsyncIterator[str]:
    """Serve lines: `answer` gets the number of the line on the whole server and the line; None hangs up."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        number = 0
        while line := await reader.readline():
            count += 1
            number += 1
            text = answer(count, line.decode())
            if text is None:
                break
            write_to(writer, f"{number} {text}\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"tcp://{host}:{port}"
    finally:
        server.close()


@both_clients
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_a_call_is_answered(kind: str, scheme: str) -> None:
    async with calling(kind, Shop(), scheme=scheme) as client:
        assert await client.call(Shop.price, "apple") == 5
        assert await client.call("shop.count", "fig") == 3
        assert await client.call(Shop.price, "two\nlines") == 9


@both_clients
async def test_many_calls_share_one_connection(kind: str) -> None:
    async with calling(kind, Shop()) as client:
        results = await asyncio.gather(*(client.call(Shop.price, "x" * size) for size in range(50)))
        assert results == list(range(50))
        assert await client.call_many(Shop.price, [("x" * size,) for size in range(50)]) == results
        assert client.stats()["totals"]["connections"] == 1
        assert client.stats()["live"]["calls"] == 0


@both_clients
async def test_an_error_comes_with_its_status(kind: str) -> None:
    async with calling(kind, Shop()) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Shop.fail, "no such thing")
        assert caught.value.status is Status.NOT_FOUND
        assert caught.value.processed == "yes"


@both_clients
async def test_a_deadline_ends_a_call_on_both_sides(kind: str) -> None:
    shop = Shop()
    async with calling(kind, shop) as client:
        assert await client.call(Shop.price, "apple") == 5
        with pytest.raises(DeadlineExceededError) as caught:
            await client.with_options(timeout=0.6).call(Shop.pack, "apple")
        assert caught.value.processed == "unknown"
        await eventually(lambda: shop.cancelled == 1)
        assert await client.call(Shop.price, "fig") == 3


async def test_a_cancelled_call_is_cancelled_on_the_server() -> None:
    shop = Shop()
    async with calling("async", shop) as client:
        call = asyncio.ensure_future(client.call(Shop.pack, "apple"))
        await eventually(lambda: shop.started == 1)
        call.cancel()
        await eventually(lambda: shop.cancelled == 1)
        assert await client.call(Shop.price, "fig") == 3


@both_clients
async def test_a_refused_call_is_tried_again(kind: str) -> None:
    lines: list[str] = []

    def answer(count: int, line: str) -> str:
        lines.append(line)
        return "UNAVAILABLE not now" if count == 1 else "OK 5"

    async with peer(answer) as target, connected(kind, target, config=TOY) as client:
        reply = await client.request("shop.price", "apple")
        assert (reply.value, reply.attempts) == (5, 2)
        assert len(lines) == 2


@both_clients
async def test_an_idempotent_call_outlives_its_connection(kind: str) -> None:
    async with peer(lambda count, _: None if count == 1 else "OK 5") as target:
        async with connected(kind, target, config=TOY) as client:
            assert await client.with_options(idempotent=True).call("shop.price", "apple") == 5


@both_clients
async def test_a_lost_connection_ends_its_calls(kind: str) -> None:
    async with peer(lambda *_: None) as target, connected(kind, target, config=TOY) as client:
        with pytest.raises(ConnectionLostError) as caught:
            await client.call("shop.price", "apple")
        assert caught.value.processed == "unknown"


@both_clients
async def test_a_stream_is_refused(kind: str) -> None:
    @fastrpc.service("flow")
    class Flow:
        @fastrpc.method
        async def count(self, end: int) -> AsyncIterator[int]:
            for number in range(end):
                yield number

    async with calling(kind, Flow()) as client:
        with pytest.raises(ConfigError, match="toy has no streams"):
            async with client.stream(Flow.count, 3):
                pass


@both_clients
async def test_the_engine_may_refuse_a_call(kind: str) -> None:
    async with calling(kind, Shop(), config=ClientConfig(wire_protocol="toy")) as client:
        with pytest.raises(EncodeError, match="toy speaks JSON, not msgpack"):
            await client.call(Shop.price, "apple")


@both_clients
async def test_a_record_names_the_protocol(kind: str) -> None:
    config = ClientConfig(codec="json")
    async with served(Shop(), scheme="tcp", config=ServerConfig(protocols=("toy",))) as target:
        endpoint = Endpoint(target, protocols=("toy",))
        async with connected(kind, endpoint, config=config) as client:  # type: ignore[arg-type]
            assert await client.call(Shop.price, "apple") == 5


@both_clients
async def test_an_old_connection_is_replaced(kind: str) -> None:
    config = ClientConfig(wire_protocol="toy", codec="json", keepalive=Keepalive(max_age=0.2))
    async with calling(kind, Shop(), config=config) as client:

        async def is_replaced() -> bool:
            assert await client.call(Shop.price, "apple") == 5
            return bool(client.stats()["totals"]["connections"] > 1)

        await until(is_replaced)


@both_clients
async def test_a_connection_at_rest_ends(kind: str) -> None:
    config = ClientConfig(wire_protocol="toy", codec="json", timeouts=Timeouts(idle=0.1))
    async with calling(kind, Shop(), config=config) as client:
        assert await client.call(Shop.price, "apple") == 5
        await asyncio.sleep(0.3)
        assert await client.call(Shop.price, "apple") == 5
        assert client.stats()["totals"]["connections"] >= 2


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_so():
            await asyncio.sleep(0.02)


async def test_a_client_that_serves_needs_a_protocol_for_it() -> None:
    with pytest.raises(ConfigError, match="servers of toy do not call their clients"):
        Client("tcp://h:1", services=[Shop()], config=TOY)
    async with served(Shop(), scheme="tcp", config=BOTH) as target:
        async with Client(Endpoint(target, protocols=("toy",)), services=[Shop()]) as client:
            with pytest.raises(fastrpc.UnavailableError, match="servers of toy do not call their clients"):
                await client.with_options(timeout=5).call("shop.price", "apple")


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"one of None, 'native', 'grpc', 'rpcx', 'phobos', 'toy'"):
        ClientConfig(wire_protocol="tyo")
    assert "http" not in WIRE_PROTOCOLS


def test_a_half_of_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register("toy", client_engine=lambda parts: toy_client.ToyCaller(parts))
    with pytest.raises(ConfigError, match="registered already"):
        register("toy", client_engine=toy_client.ToyCaller, traits=ClientTraits(has_streams=True))
    with pytest.raises(ConfigError, match="has no engine"):
        register("half")
    assert client_protocol("toy").client_engine is toy_client.ToyCaller


def test_a_client_closes_its_connections() -> None:
    with fastrpc.testing.serving(Shop(), config=BOTH) as address:
        with SyncClient(address, config=TOY) as client:
            assert client.call(Shop.price, "apple") == 5

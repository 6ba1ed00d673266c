"""Which protocol a client speaks with an endpoint, where the record of the endpoint says it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import fastrpc
from fastrpc import CallError, ClientConfig, Endpoint, Server, ServerConfig, Status, current_call
from fastrpc.client.wire import wire_of
from tests.support.either_client import CLIENTS, connected
from tests.support.served import served

pytestmark = pytest.mark.one_loop

both = pytest.mark.parametrize("kind", CLIENTS)


@fastrpc.service("price.list", rpcx="go")
class Prices:
    """Go calls it `PriceList.PriceOf`."""

    def __init__(self, *, is_stuck: bool = False) -> None:
        self.is_stuck = is_stuck
        self.started = asyncio.Event()

    @fastrpc.method(idempotent=True)
    async def price_of(self, item: str, count: int = 1) -> tuple[str, int]:
        self.started.set()
        if self.is_stuck:
            await asyncio.Event().wait()
        return current_call().peer.protocol, len(item) * count

    @fastrpc.method(idempotent=True)
    async def first(self, items: list[str]) -> str:
        return items[0]

    @fastrpc.method
    async def numbers(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number


@asynccontextmanager
async def servers(*spoken: str) -> AsyncIterator[list[Endpoint]]:
    """Serve the prices once by each protocol; yield the records of the servers."""
    async with AsyncExitStack() as stack:
        endpoints = []
        for protocol in spoken:
            config = ServerConfig(protocols=(protocol,))
            target = await stack.enter_async_context(served(Prices(), scheme="tcp", config=config))
            endpoints.append(Endpoint(target, protocols=(protocol,)))
        yield endpoints


@pytest.mark.parametrize(
    ("protocols", "wire_protocol", "wire"),
    [
        ((), None, "native"),
        (("native", "rpcx"), None, "native"),
        (("rpcx",), None, "rpcx"),
        (("http",), None, "native"),
        (("rpcx",), "native", "native"),
        (("native",), "rpcx", "rpcx"),
    ],
)
def test_the_settings_decide_and_then_the_record(
    protocols: tuple[str, ...], wire_protocol: str | None, wire: str
) -> None:
    endpoint = Endpoint("tcp://10.0.0.1:8972", protocols=protocols)
    assert wire_of(endpoint, ClientConfig(wire_protocol=wire_protocol)) == wire


@both
async def test_streams_go_to_servers_that_have_them(kind: str) -> None:
    async with servers("rpcx", "native", "rpcx") as endpoints, connected(kind, endpoints) as client:
        for _ in range(6):
            async with client.stream(Prices.numbers, 3) as stream:
                assert [number async for number in stream] == [0, 1, 2]


@both
async def test_one_client_calls_servers_of_either_protocol(kind: str) -> None:
    async with servers("native", "rpcx") as endpoints, connected(kind, endpoints) as client:
        found = [await client.call(Prices.price_of, "fig", count=2) for _ in range(8)]
        assert {tuple(one) for one in found} == {("native", 6), ("rpcx", 6)}
        # A list that is the only argument is not a list of arguments.
        assert [await client.call(Prices.first, ["fig", "pear"]) for _ in range(4)] == ["fig"] * 4
        batches = [await client.call_many(Prices.price_of, [("fig",), ("pear", 2)]) for _ in range(4)]
        assert {tuple(map(tuple, batch)) for batch in batches} == {
            (("native", 3), ("native", 8)),
            (("rpcx", 3), ("rpcx", 8)),
        }
        named = [await client.call("price.list.price_of", item="fig", count=3) for _ in range(4)]
        assert {tuple(one) for one in named} == {("native", 9), ("rpcx", 9)}


@both
@pytest.mark.parametrize(("first", "other"), [("native", "rpcx"), ("rpcx", "native")])
async def test_a_retry_goes_to_a_server_of_the_other_protocol(kind: str, first: str, other: str) -> None:
    leaving = Prices(is_stuck=True)
    async with AsyncExitStack() as stack:
        [stays] = await stack.enter_async_context(servers(other))
        server = Server(leaving, config=ServerConfig(protocols=(first,)))
        await stack.enter_async_context(server)
        leaves = Endpoint(await server.listen("tcp://127.0.0.1:0"), protocols=(first,))
        client = await stack.enter_async_context(connected(kind, [leaves, stays]))
        calls = [asyncio.ensure_future(client.call(Prices.price_of, "fig", 2)) for _ in range(4)]
        await leaving.started.wait()
        for session in list(server._gate.engines):
            session.abort()
        assert {tuple(one) for one in await asyncio.gather(*calls)} == {(other, 6)}


@both
async def test_a_stream_goes_where_streams_are_spoken(kind: str) -> None:
    async with servers("rpcx", "native") as [theirs, ours], connected(kind, [theirs, ours]) as client:
        async with client.with_options(endpoint=ours).stream(Prices.numbers, 3) as stream:
            assert [number async for number in stream] == [0, 1, 2]
        with pytest.raises(CallError, match="rpcx has no streams") as caught:
            async with client.with_options(endpoint=theirs).stream(Prices.numbers, 3) as stream:
                await stream.receive()
        assert caught.value.status is Status.UNIMPLEMENTED

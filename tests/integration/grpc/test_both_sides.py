"""Our client and our server by gRPC: the promises of the native protocol hold here, too."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    DeadlineExceededError,
    ServerConfig,
    Status,
    StreamEndedError,
    current_call,
)
from tests.support.either_client import CLIENTS, connected
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually

SPEAKING = ServerConfig(protocols=("native", "grpc"))
CALLING = ClientConfig(wire_protocol="grpc")


@dataclass
class Item:
    name: str
    count: int = 1


@fastrpc.service("shop.v1.Desk")
class Desk:
    """A service of each kind of method."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.refusals = 0
        self.seen: list[dict[str, str | bytes]] = []

    @fastrpc.method
    async def price(self, item: Item, discount: float = 0.0) -> float:
        return item.count * (1 - discount)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        call = current_call()
        self.seen.append(dict(call.metadata.entries))
        call.reply_metadata = {"x-end": "1", "x-end-bin": b"\0"}
        return data

    @fastrpc.method
    async def fail(self, text: str) -> None:
        raise CallError(Status.NOT_FOUND, text, details={"missing": ["tea"], "of": 3})

    @fastrpc.method(idempotent=True)
    async def refuse(self) -> int:
        self.refusals += 1
        if self.refusals == 1:
            raise CallError(Status.UNAVAILABLE, "not yet", retry_after=0.01, processed="no")
        return self.refusals

    @fastrpc.method
    async def wait(self) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    @fastrpc.method
    async def left(self) -> float:
        return current_call().remaining() or -1.0

    @fastrpc.method
    async def count(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    @fastrpc.method
    async def sum(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def talk(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            yield word.upper()


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_each_kind_of_method_is_called_over_each_transport(scheme: str, kind: str) -> None:
    if kind == "sync" and scheme == "memory":
        pytest.skip("threads have no memory transport")
    async with served(Desk(), scheme=scheme, config=SPEAKING) as target:
        async with connected(kind, target, config=CALLING) as client:
            assert await client.call(Desk.price, Item("tea", 4), discount=0.25) == 3.0
            assert await client.call(Desk.echo, b"x" * 100_000) == b"x" * 100_000
            assert await client.call(Desk.sum, iter(range(100))) == 4950
            async with client.stream(Desk.count, 1_000) as stream:
                assert [one async for one in stream] == list(range(1_000))
            async with client.open(Desk.talk) as talk:
                await talk.send("a")
                assert await talk.receive() == "A"
                await talk.end()
            assert await client.call_many(Desk.price, [(Item("a", 1),), (Item("b", 2),)]) == [1.0, 2.0]
            await client.notify(Desk.echo, b"x")


@pytest.mark.one_loop
class TestRules:
    async def test_errors_have_their_details(self, kind: str) -> None:
        async with served(Desk(), scheme="tcp", config=SPEAKING) as target:
            async with connected(kind, target, config=CALLING) as client:
                with pytest.raises(CallError) as caught:
                    await client.call(Desk.fail, "no caf\u00e9")
        error = caught.value
        assert (error.status, error.message) == (Status.NOT_FOUND, "no caf\u00e9")
        assert error.details == {"missing": ["tea"], "of": 3}
        assert error.processed == "yes"

    async def test_metadata_goes_both_ways(self, kind: str) -> None:
        desk = Desk()
        async with served(desk, scheme="tcp", config=SPEAKING) as target:
            async with connected(kind, target, config=CALLING) as client:
                view = client.with_options(metadata={"x-name": "a b", "x-key-bin": b"\xff"})
                reply = await view.request(Desk.echo, b"x")
        assert {"x-name": "a b", "x-key-bin": b"\xff"}.items() <= desk.seen[0].items()
        assert reply.metadata.entries == {"x-end": "1", "x-end-bin": b"\0"}

    async def test_a_pause_of_the_server_is_kept(self, kind: str) -> None:
        async with served(Desk(), scheme="tcp", config=SPEAKING) as target:
            async with connected(kind, target, config=CALLING) as client:
                assert (await client.request(Desk.refuse)).attempts == 2

    async def test_a_deadline_holds_on_both_sides(self, kind: str) -> None:
        desk = Desk()
        async with served(desk, scheme="tcp", config=SPEAKING) as target:
            async with connected(kind, target, config=CALLING) as client:
                assert 0 < await client.with_options(timeout=20).call(Desk.left) <= 20
                assert await client.with_options(timeout=None).call(Desk.left) == -1.0
                with pytest.raises(DeadlineExceededError):
                    await client.with_options(timeout=0.3).call(Desk.wait)
                await eventually(lambda: desk.cancelled == 1)

    async def test_a_cancelled_call_is_cancelled_there(self) -> None:
        desk = Desk()
        async with served(desk, scheme="tcp", config=SPEAKING) as target:
            async with connected("async", target, config=CALLING) as client:
                call = asyncio.ensure_future(client.call(Desk.wait))
                await asyncio.sleep(0.05)
                call.cancel()
                await eventually(lambda: desk.cancelled == 1)
                assert await client.call(Desk.echo, b"x") == b"x"

    async def test_a_stream_may_end_before_its_connection_is_opened(self) -> None:
        async with served(Desk(), scheme="tcp", config=SPEAKING) as target:
            async with Client(target, config=CALLING) as client:
                async with client.with_options(timeout=20).open(Desk.talk) as talk:
                    await talk.end()
                    with pytest.raises(StreamEndedError):
                        await talk.receive()

    async def test_messages_are_compressed_both_ways(self, kind: str) -> None:
        async with served(Desk(), scheme="tcp", config=SPEAKING) as target:
            for name in ("gzip", "deflate"):
                config = ClientConfig(wire_protocol="grpc", compressor=name)
                async with connected(kind, target, config=config) as client:
                    assert await client.call(Desk.echo, b"a" * 100_000) == b"a" * 100_000

    async def test_a_method_by_its_name_takes_bytes_or_values(self, kind: str) -> None:
        async with served(Desk(), scheme="tcp", config=SPEAKING) as target:
            async with connected(kind, target, config=CALLING) as client:
                assert await client.call("shop.v1.Desk.echo", b"x") == b"x"
                found = await client.with_options(codec="json").call(
                    "shop.v1.Desk.price", item={"name": "tea", "count": 3}
                )
                assert found == {"value": 3.0}

    async def test_a_server_that_ends_leaves_its_calls_to_other_servers(self, kind: str) -> None:
        first, second = Desk(), Desk()
        async with served(second, scheme="tcp", config=SPEAKING) as other:
            async with served(first, scheme="tcp", config=SPEAKING) as target:
                async with connected(kind, [target, other], config=CALLING) as client:  # type: ignore[arg-type]
                    view = client.with_options(timeout=20)
                    for _ in range(20):
                        await view.call(Desk.echo, b"x")
                    stopping = asyncio.ensure_future(target.server.drain())
                    for _ in range(50):
                        assert await view.call(Desk.echo, b"x") == b"x"
                    await stopping
                    assert await view.call(Desk.echo, b"x") == b"x"

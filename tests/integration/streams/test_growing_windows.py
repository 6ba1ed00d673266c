"""Windows that grow between real clients and servers: out of the stream pool, and back to it with the call."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Memory, ServerConfig, SyncClient
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.feed import Feed
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

POOL = 33_554_432
SIZE = 30_000
#: Many times the messages that fit into the first windows.
MESSAGES = 2_000
WIRES = ("native", "grpc")


@fastrpc.service("sink")
class Sink:
    """Takes every message, and looks at the pool of its connection meanwhile."""

    def __init__(self) -> None:
        self.server: Any = None
        self.left: list[int] = []

    @fastrpc.method
    async def take(self, blocks: AsyncIterator[bytes]) -> int:
        size = 0
        async for block in blocks:
            size += len(block)
        self.left.append(windows_of(self.server._gate.engines).growth_left)
        return size


def windows_of(engines: Any) -> Any:
    """Return the part that keeps the windows of the only one of some connections."""
    [engine] = engines
    holder = engine.wire if hasattr(engine, "wire") else engine
    return next(getattr(holder, part) for part in ("assembler", "http2") if hasattr(holder, part))


def is_whole(windows: Any) -> bool:
    return (windows.growth_left, windows.stream_pool_left) == (POOL // 2, POOL)


def serves(wire: str, **settings: Any) -> ServerConfig:
    return ServerConfig(protocols=(wire,), **settings)


def calls(wire: str) -> ClientConfig:
    return ClientConfig(wire_protocol=wire)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_window_of_a_client_grows_while_it_reads_and_goes_back(scheme: str, wire: str) -> None:
    async with (
        served(Feed, scheme=scheme, config=serves(wire)) as target,
        Client(target, config=calls(wire)) as client,
    ):
        async with client.stream(Feed.endless, SIZE) as blocks:
            for _ in range(MESSAGES):
                await blocks.receive()
            windows = windows_of(client._pool.connections)
            grown = POOL // 2 + 65_536 - windows.growth_left
            assert 65_536 < grown <= POOL // 4
            if wire == "native":
                assert blocks._window_bytes == grown
        await eventually(lambda: is_whole(windows))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_window_of_a_server_grows_while_its_handler_reads_and_goes_back(scheme: str, wire: str) -> None:
    sink = Sink()
    async with (
        served(sink, scheme=scheme, config=serves(wire)) as target,
        Client(target, config=calls(wire)) as client,
    ):
        sink.server = target.server
        assert await client.call(Sink.take, repeat(bytes(SIZE), MESSAGES)) == SIZE * MESSAGES
        assert POOL // 4 <= sink.left[0] < POOL // 2
        await eventually(lambda: is_whole(windows_of(target.server._gate.engines)))


def test_window_of_a_blocking_client_grows_while_it_reads_and_goes_back() -> None:
    with ThreadedServer(Feed()) as server, SyncClient(server.address) as client:
        with client.stream(Feed.endless, SIZE) as blocks:
            blocks.receive()
            assembler = windows_of(one.engine for one in client._pool.connections)
            least = POOL
            # The two share an interpreter: a window that is not needed may have gone back at the end.
            for _ in range(10 * MESSAGES):
                blocks.receive()
                least = min(least, assembler.growth_left)
            assert POOL // 4 <= least < POOL // 2
        assert is_whole(assembler)


def test_window_for_a_blocking_client_grows_at_the_server() -> None:
    def blocks() -> Iterator[bytes]:
        yield from repeat(bytes(SIZE), MESSAGES)

    sink = Sink()
    with ThreadedServer(sink) as server, SyncClient(server.address) as client:
        sink.server = server.server
        assert client.call(Sink.take, blocks()) == SIZE * MESSAGES
        assert POOL // 4 <= sink.left[0] < POOL // 2


@pytest.mark.parametrize("wire", WIRES)
async def test_windows_do_not_grow_where_memory_is_short(wire: str) -> None:
    sink, feed = Sink(), Feed()
    config = serves(wire, memory=Memory(process_bytes=1_048_576))
    async with (
        served(sink, feed, scheme="tcp", config=config) as target,
        Client(target, config=calls(wire)) as client,
    ):
        sink.server = target.server
        # The unread bytes are above 70 % of the memory, and below 85 %.
        unread = [asyncio.ensure_future(client.call(Feed.unread, repeat(bytes(SIZE), 10))) for _ in range(12)]
        await eventually(lambda: bytes_held() > 0.7 * 1_048_576)
        assert await client.call(Sink.take, repeat(bytes(SIZE), 200)) == SIZE * 200
        assert sink.left == [POOL // 2]
        feed.go_on.set()
        assert await asyncio.gather(*unread) == [10 * SIZE] * 12

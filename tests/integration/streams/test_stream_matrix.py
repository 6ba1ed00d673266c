"""Every kind of stream between a real client and a real server, on every transport, and many at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from fastrpc import Admission, Client, ClientConfig, ServerConfig, UnavailableError
from fastrpc.config import Backoff
from tests.conftest import SCALE
from tests.support.either_client import CLIENTS, connected, either, taken
from tests.support.feed import Feed
from tests.support.served import SCHEMES, Served, served
from tests.support.waiting import eventually

#: However long a busy machine takes, no stream waits too long to be started.
PATIENT = ServerConfig(admission=Admission(queue_age=60))


async def both_are_at_base(target: Served, client: Any) -> None:
    """Wait until neither side has anything under way."""
    await eventually(lambda: not target.server.stats()["live"]["calls"])
    await eventually(lambda: not client.stats()["live"]["calls"])
    sessions: set[Any] = target.server._gate.engines  # type: ignore[union-attr, assignment]
    await eventually(lambda: all(session.stats()["calls"] == 0 for session in sessions))
    await eventually(lambda: all(one.assembler.stream_pool_left == 33_554_432 for one in sessions))


@asynccontextmanager
async def at_base(kind: str, source: Any, scheme: str) -> AsyncIterator[Any]:
    """Serve a source and yield a client of a kind; at the end neither side may have anything under way."""
    async with served(source, scheme=scheme) as target, connected(kind, target) as client:
        yield client
        await both_are_at_base(target, client)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("scheme", SCHEMES)
class TestKinds:
    @pytest.mark.parametrize("method", [Feed.count, Feed.lines, Feed.inline])
    async def test_server_stream(self, kind: str, scheme: str, method: object) -> None:
        async with at_base(kind, Feed, scheme) as client, client.stream(method, 5_000) as numbers:
            assert await taken(numbers) == list(range(5_000))

    async def test_client_stream(self, kind: str, scheme: str) -> None:
        async with at_base(kind, Feed, scheme) as client:
            assert await client.call(Feed.total, range(5_000), 7) == 7 + sum(range(5_000))

    async def test_both_ways(self, kind: str, scheme: str) -> None:
        async with at_base(kind, Feed, scheme) as client:
            async with client.stream(Feed.scale, range(5_000), 3) as numbers:
                assert await taken(numbers) == [3 * number for number in range(5_000)]

    async def test_both_ways_by_hand(self, kind: str, scheme: str) -> None:
        async with at_base(kind, Feed, scheme) as client, client.open(Feed.scale, 3) as stream:
            for number in range(100):
                await stream.send(number)
                assert await stream.receive() == 3 * number
            await stream.end()
            assert await taken(stream) == []

    async def test_messages_over_the_window(self, kind: str, scheme: str) -> None:
        sizes = [200_000, 0, 70_000, 1_000_000]
        async with at_base(kind, Feed, scheme) as client:
            async with client.stream(Feed.sized, sizes) as blocks:
                assert [len(block) async for block in blocks] == sizes
            async with client.stream(Feed.mirror, (bytes(size) for size in sizes)) as blocks:
                assert [len(block) async for block in blocks] == sizes

    @pytest.mark.parametrize("method", [Feed.endless, Feed.blocks])
    async def test_leaving_ends_the_generator(self, kind: str, scheme: str, method: object) -> None:
        feed = Feed()
        async with at_base(kind, feed, scheme) as client:
            async with client.stream(method, 100) as blocks:
                async for _ in blocks:
                    break
            await eventually(lambda: feed.ends)
            assert feed.ends[0] == "CancelledError"


@pytest.mark.one_loop
async def test_many_threads_share_a_connection() -> None:
    async with either("sync", Feed) as client:

        def read() -> list[int]:
            with client.client.stream(Feed.count, 500) as messages:
                return list(messages)

        found = await asyncio.gather(*(asyncio.to_thread(read) for _ in range(8)))
        assert found == [list(range(500))] * 8
        assert client.stats()["live"]["connections"] == 1


async def test_a_thousand_streams_at_once_all_complete_in_order() -> None:
    async def read(client: Client) -> list[int]:
        async with client.stream(Feed.count, 100) as numbers:
            return [number async for number in numbers]

    async with served(Feed, scheme="tcp", config=PATIENT) as target, Client(target) as client:
        await client.ready(timeout=10)
        found = await asyncio.gather(*(read(client) for _ in range(1_000)))
        assert all(numbers == list(range(100)) for numbers in found)
        await both_are_at_base(target, client)


#: Streams that are left at once, and how often: 400 in all in a normal run, 10,000 of each loop and way in a soak.
AT_ONCE = 40
ROUNDS = 10 if SCALE <= 1 else round(25 * SCALE)


class Leaver:
    """Opens streams of every kind, and leaves them somewhere: unread, in a message, in a cut one."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.random = Random(7)

    async def leave_one(self) -> None:
        random, client = self.random, self.client
        kind = random.randrange(4)
        if kind == 0:
            async with client.stream(Feed.endless, random.choice((10, 5_000, 100_000, 400_000))) as blocks:
                for _ in range(random.randrange(30)):
                    await blocks.receive()
        elif kind == 1:
            async with client.open(Feed.total) as numbers:
                for number in range(random.randrange(300)):
                    await numbers.send(number)
        elif kind == 2:
            async with client.open(Feed.mirror) as values:
                for _ in range(random.randrange(10)):
                    size = random.choice((1, 3_000, 100_000))
                    await values.send(bytes(size))
                    # Unreceived messages have to fit into the window, or both sides would wait for each other.
                    while size == 100_000 and len(await values.receive()) != size:
                        pass
        else:
            async with client.stream(Feed.blocks, random.choice((10, 5_000))) as blocks:
                for _ in range(random.randrange(100)):
                    await blocks.receive()


async def test_streams_left_at_random_points_leak_nothing() -> None:
    async with served(Feed, scheme="tcp", config=PATIENT) as target, Client(target) as client:
        await client.ready(timeout=10)
        leaver = Leaver(client)
        for _ in range(ROUNDS):
            await asyncio.gather(*(leaver.leave_one() for _ in range(AT_ONCE)))
        await both_are_at_base(target, client)


async def test_streams_left_after_a_goaway_leak_nothing() -> None:
    """The server asks for another connection while streams are left on this one."""
    # Connections that end early are dialled again at once.
    quick = ClientConfig(backoff=Backoff(first=0.001, longest=0.01))
    async with served(Feed, scheme="tcp", config=PATIENT) as target, Client(target, config=quick) as client:
        await client.ready(timeout=10)
        leaver = Leaver(client.with_options(wait_for_ready=True))

        async def leave() -> None:
            try:
                await leaver.leave_one()
            except UnavailableError as error:
                # A stream that sends is attempted once.
                if error.processed != "no":
                    raise

        for _ in range(ROUNDS):
            leaving = [asyncio.ensure_future(leave()) for _ in range(AT_ONCE)]
            for _ in range(leaver.random.randrange(20)):
                await asyncio.sleep(0)
            for session in list(target.server._gate.engines):  # type: ignore[union-attr]
                session.begin_drain(1, "a younger one has to take its place")  # type: ignore[attr-defined]
            await asyncio.gather(*leaving)
        await both_are_at_base(target, client)
        await eventually(lambda: len(target.server._gate.engines) <= 1)  # type: ignore[union-attr]

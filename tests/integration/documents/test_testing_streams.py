"""`fastrpc.testing` with streams: in memory, a handler alone, and a network that delays, cuts and drops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Backoff,
    CallError,
    Client,
    ClientConfig,
    ConnectionLostError,
    DeadlineExceededError,
    Keepalive,
    ServerConfig,
    Status,
    Timeouts,
    current_call,
)
from fastrpc.testing import FaultyTransport, connected, handling, serving
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: Connects again at once.
EAGER = ClientConfig(backoff=Backoff(first=0.001, longest=0.01))


@fastrpc.service("feed")
class Feed:
    def __init__(self) -> None:
        self.ends: list[str] = []

    @fastrpc.method(idempotent=True)
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    def lines(self, text: str) -> Iterator[str]:
        yield from text.splitlines()

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def shout(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            yield word.upper()

    @fastrpc.method
    async def ticks(self) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise

    @fastrpc.method
    async def wrong(self) -> AsyncIterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]

    @fastrpc.method
    async def told(self) -> AsyncIterator[str]:
        current_call().reply_metadata["first"] = "1"
        await current_call().send_metadata()
        yield current_call().metadata["tenant"]


async def words(*given: str) -> AsyncIterator[str]:
    for word in given:
        yield word


class TestInMemory:
    async def test_every_kind_works(self) -> None:
        async with connected(Feed) as client:
            async with client.stream(Feed.count, 3) as numbers:
                assert [number async for number in numbers] == [0, 1, 2]
            async with client.stream(Feed.lines, "a\nb") as lines:
                assert [line async for line in lines] == ["a", "b"]
            assert await client.call(Feed.total, numbers_to(4)) == 6
            async with client.stream(Feed.shout, words("a", "b")) as answers:
                assert [answer async for answer in answers] == ["A", "B"]
            async with client.open(Feed.shout) as talk:
                await talk.send("c")
                assert await talk.receive() == "C"

    async def test_each_message_is_checked_against_the_annotation(self) -> None:
        async with connected(Feed) as client, client.stream(Feed.wrong) as numbers:
            assert await numbers.receive() == 1
            with pytest.raises(CallError) as failed:
                await numbers.receive()
        assert failed.value.status is Status.INTERNAL

    async def test_interceptors_and_identity_stand_around_streams(self) -> None:
        seen: list[Any] = []

        async def note(call: Any, proceed: Any) -> Any:
            try:
                return await proceed(call)
            finally:
                seen.append((call.side, call.kind, getattr(call.identity, "name", None), call.status))

        options: dict[str, Any] = {"interceptors": [note], "client_interceptors": [note]}
        async with connected(Feed, **options, identity=fastrpc.Identity("ada")) as client:
            async with client.stream(Feed.count, 3) as numbers:
                assert len([number async for number in numbers]) == 3
        assert sorted(seen) == [
            ("client", "server_stream", None, Status.OK),
            ("server", "server_stream", "ada", Status.OK),
        ]

    async def test_leaving_early_is_seen_by_the_handler(self) -> None:
        feed = Feed()
        async with connected(feed) as client:
            async with client.stream(Feed.ticks) as ticks:
                await ticks.receive()
            await eventually(lambda: feed.ends == ["cancelled"])


async def numbers_to(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


class TestHandlerAlone:
    async def test_generators_find_their_call(self) -> None:
        with handling(metadata={"tenant": "acme"}) as call:
            assert [one async for one in Feed().told()] == ["acme"]
            assert call.reply_metadata["first"] == "1"

    async def test_messages_come_from_any_generator(self) -> None:
        with handling():
            assert await Feed().total(numbers_to(4)) == 6
            assert [one async for one in Feed().shout(words("a"))] == ["A"]


class TestBadNetwork:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("seed", range(3))
    async def test_delayed_pieces_lose_and_reorder_nothing(self, scheme: str, seed: int) -> None:
        async with served(Feed, scheme=scheme) as target:
            with FaultyTransport(seed=seed, delay=0.0005, split=64, cut_after=None) as faulty:
                async with Client(faulty.address(target)) as client:
                    async with client.stream(Feed.count, 500) as numbers:
                        assert [number async for number in numbers] == list(range(500))
                    async with client.stream(Feed.shout, words(*"abcdefgh")) as answers:
                        assert [answer async for answer in answers] == list("ABCDEFGH")

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_cut_ends_a_stream_in_the_middle_on_both_sides(self, scheme: str) -> None:
        feed = Feed()
        async with served(feed, scheme=scheme) as target:
            with FaultyTransport(delay=0.0, cut_after=None) as faulty:
                async with Client(faulty.address(target), config=EAGER) as client:
                    async with client.stream(Feed.ticks) as ticks:
                        assert [await ticks.receive() for _ in range(3)] == [0, 1, 2]
                        faulty.cut()
                        with pytest.raises(ConnectionLostError) as lost:
                            while True:
                                await ticks.receive()
                    assert lost.value.processed == "unknown"
                    await eventually(lambda: feed.ends == ["cancelled"])
                    async with client.with_options(wait_for_ready=True).stream(Feed.count, 3) as numbers:
                        assert [number async for number in numbers] == [0, 1, 2]
            assert (faulty.cuts, faulty.connections) == (1, 2)

    async def test_random_cuts_lose_no_message_from_the_middle(self) -> None:
        ended = {"whole": 0, "cut": 0}
        async with served(Feed, scheme="tcp") as target:
            with FaultyTransport(seed=11, delay=0.0, cut_after=6_000) as faulty:
                async with Client(faulty.address(target), config=EAGER) as client:
                    for _ in range(40):
                        got: list[int] = []
                        try:
                            async with client.with_options(wait_for_ready=True).stream(
                                Feed.count, 50
                            ) as numbers:
                                async for number in numbers:
                                    got.append(number)
                            ended["whole"] += 1
                        except ConnectionLostError:
                            ended["cut"] += 1
                        assert got == list(range(len(got)))
        assert ended["whole"] > 0
        assert 0 < ended["cut"] <= faulty.cuts

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_dropped_messages_are_noticed_by_the_idle_limit(self, scheme: str) -> None:
        config = ClientConfig(timeouts=Timeouts(stream_idle=0.5))
        async with served(Feed, scheme=scheme) as target:
            with FaultyTransport(delay=0.0, cut_after=None) as faulty:
                async with Client(faulty.address(target), config=config) as client:
                    with pytest.raises(DeadlineExceededError):
                        async with client.stream(Feed.ticks) as ticks:
                            assert await ticks.receive() == 0
                            faulty.drop()
                            async for _ in ticks:
                                pass
            assert (faulty.drops, faulty.cuts) == (1, 0)

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_silence_is_noticed_by_keepalive_on_both_sides(self, scheme: str) -> None:
        feed = Feed()
        alive = Keepalive(interval=0.1, timeout=0.1, minimum_interval=0.01)
        async with served(feed, scheme=scheme, config=ServerConfig(keepalive=alive)) as target:
            with FaultyTransport(delay=0.0, cut_after=None) as faulty:
                async with Client(faulty.address(target), config=ClientConfig(keepalive=alive)) as client:
                    with pytest.raises(ConnectionLostError):
                        async with client.stream(Feed.ticks) as ticks:
                            await ticks.receive()
                            faulty.drop()
                            async for _ in ticks:
                                pass
                    await eventually(lambda: feed.ends == ["cancelled"])

    async def test_connections_fall_silent_after_a_number_of_bytes(self) -> None:
        config = ClientConfig(timeouts=Timeouts(stream_idle=1.0))
        async with served(Feed, scheme="tcp") as target:
            with FaultyTransport(seed=1, delay=0.0, cut_after=None, drop_after=4_000) as faulty:
                async with Client(faulty.address(target), config=config) as client:
                    with pytest.raises(DeadlineExceededError):
                        async with client.stream(Feed.ticks) as ticks:
                            async for _ in ticks:
                                pass
            assert faulty.drops == 1

    async def test_server_that_closes_is_not_heard_in_silence(self) -> None:
        with serving(Feed) as address, FaultyTransport(delay=0.0, cut_after=None) as faulty:
            client = Client(faulty.address(address))
            stream = client.stream(Feed.ticks)
            await stream.receive()
            faulty.drop()
            await asyncio.to_thread(lambda: None)
            assert stream.is_open
            await stream.aclose()
            async with asyncio.timeout(20):
                await client.close()

    async def test_a_drop_that_cannot_be_is_refused_by_name(self) -> None:
        with pytest.raises(fastrpc.ConfigError, match="drop_after is 0"):
            FaultyTransport(drop_after=0)

"""Every kind of stream over `tls://`, of both clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import TLS, ClientConfig, Server, ServerConfig, Timeouts
from tests.support.certificates import Authority, Certificate
from tests.support.either_client import CLIENTS, taken
from tests.support.feed import Feed
from tests.support.guarded import calling
from tests.support.waiting import eventually

#: Beyond the first window, and beyond one record of TLS.
SIZES = [200_000, 0, 70_000, 1_000_000]


@asynccontextmanager
async def encrypted(
    kind: str, feed: Feed, authority: Authority, certificate: Certificate
) -> AsyncIterator[Any]:
    """Yield a client of a kind; in the end neither side has anything under way."""
    async with Server(feed, config=ServerConfig(tls=certificate.tls())) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        # A busy machine does not make fifty handshakes within a second.
        config = ClientConfig(tls=TLS(ca_file=authority.cert_file), timeouts=Timeouts(connect=20.0))
        async with calling(kind, target, config=config) as client:
            yield client
            # A blocking client sends and reads the remaining bytes while it calls.
            await client.call("fastrpc.health.check")
            await eventually(lambda: not server.stats()["live"]["calls"])
            # The ends of its streams may have come after the first answer; they come before the second one.
            await client.call("fastrpc.health.check")
            assert client.stats()["live"]["calls"] == 0
            for session in server._gate.engines:  # type: ignore[union-attr]
                assert session.assembler.stream_pool_left == 33_554_432  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", CLIENTS)
class TestKinds:
    @pytest.mark.parametrize("method", [Feed.count, Feed.lines, Feed.inline])
    async def test_server_stream(
        self, kind: str, method: Any, authority: Authority, server_certificate: Certificate
    ) -> None:
        async with encrypted(kind, Feed(), authority, server_certificate) as client:
            async with client.stream(method, 2_000) as numbers:
                assert await taken(numbers) == list(range(2_000))

    async def test_client_stream(
        self, kind: str, authority: Authority, server_certificate: Certificate
    ) -> None:
        async with encrypted(kind, Feed(), authority, server_certificate) as client:
            assert await client.call(Feed.total, range(2_000), 7) == 7 + sum(range(2_000))

    async def test_both_ways(self, kind: str, authority: Authority, server_certificate: Certificate) -> None:
        async with encrypted(kind, Feed(), authority, server_certificate) as client:
            async with client.stream(Feed.scale, range(2_000), 3) as numbers:
                assert await taken(numbers) == [3 * number for number in range(2_000)]

    async def test_messages_over_the_window(
        self, kind: str, authority: Authority, server_certificate: Certificate
    ) -> None:
        async with encrypted(kind, Feed(), authority, server_certificate) as client:
            async with client.stream(Feed.sized, SIZES) as blocks:
                assert [len(block) for block in await taken(blocks)] == SIZES
            async with client.stream(Feed.mirror, [bytes(size) for size in SIZES]) as blocks:
                assert [len(block) for block in await taken(blocks)] == SIZES

    @pytest.mark.parametrize("method", [Feed.endless, Feed.blocks])
    async def test_leaving_ends_the_generator(
        self, kind: str, method: Any, authority: Authority, server_certificate: Certificate
    ) -> None:
        feed = Feed()
        async with encrypted(kind, feed, authority, server_certificate) as client:
            async with client.stream(method, 100) as messages:
                await messages.receive()
            await eventually(lambda: feed.ends)
            assert feed.ends[0] == "CancelledError"

    async def test_many_at_once(
        self, kind: str, authority: Authority, server_certificate: Certificate
    ) -> None:
        async def read(client: Any) -> Any:
            async with client.stream(Feed.count, 50) as numbers:
                return await taken(numbers)

        async with encrypted(kind, Feed(), authority, server_certificate) as client:
            found = await asyncio.gather(*(read(client) for _ in range(50)))
            assert found == [list(range(50))] * 50

"""Services without a method are refused; those with streams are served, and only calls of another shape refused."""

import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, ConfigError, Server, Status
from fastrpc.testing import connected

pytestmark = pytest.mark.one_loop

# Streams


@fastrpc.service("feed")
class Feed:
    @fastrpc.method
    async def latest(self) -> int:
        return 42

    @fastrpc.method
    async def follow(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])


@fastrpc.service("chat")
class Chat:
    @fastrpc.method
    async def talk(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            yield message


async def test_services_with_streams_are_served_without_a_warning() -> None:
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        async with connected(Feed, Chat) as client:
            assert await client.call(Feed.latest) == 42
            for name in ("feed.follow", "feed.total", "chat.talk"):
                with pytest.raises(CallError, match=r"write client\.(call|stream)\(") as refused:
                    await client.call(name, 3)
                assert refused.value.status is Status.INVALID_ARGUMENT
                assert refused.value.processed == "no"
    assert not [one for one in noted if "streams" in str(one.message)]


# Services without methods


@fastrpc.service("forgotten")
class Forgotten:
    async def mul(self, a: int, b: int) -> int:
        return a * b

    def _hidden(self) -> None: ...


@fastrpc.service("empty")
class Empty: ...


@fastrpc.service("heir")
class Heir(Forgotten): ...


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (Forgotten, "above mul"),
        (Forgotten(), "above mul"),
        (Empty, "above each function"),
        (Heir, "@fastrpc.method"),
    ],
)
async def test_a_service_without_a_method_is_refused(source: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=rf"without a method.*{advice}"):
        await Server(source).start()
    async with Server() as server:
        with pytest.raises(ConfigError, match=r"without a method"):
            server.add(source() if isinstance(source, type) else source)

"""A stream of ours on a loop: the end of its attempts when the program drops it."""

import asyncio
from typing import Any

import pytest

from fastrpc import Client, Stream
from fastrpc._core.loop.loop_state import loop_state
from tests.support.called_feed import Feed, calling
from tests.support.feed import Feed as EveryKind
from tests.support.served import served
from tests.support.waiting import eventually


class LastHolder:
    """A sign of an attempt that drops the stream as it is done."""

    def __init__(self) -> None:
        self.held: list[Stream[Any, Any]] = []

    def done(self) -> bool:
        return False

    def set_result(self, value: None) -> None:
        self.held.clear()


async def begin(client: Any, holder: LastHolder, method: Any) -> None:
    """Send the attempt of a stream that only the holder holds."""
    stream = client.stream(method)
    stream._set_loop(loop_state(asyncio.get_running_loop()), 0.0)
    stream.origin._start_clock()
    attempt = stream.origin._attempt_on(client._pool.connections[0], 0)
    holder.held.append(stream)
    attempt._begin(stream, holder)


@pytest.mark.one_loop
async def test_a_stream_may_go_as_its_first_message_comes() -> None:
    feed, holder = Feed(), LastHolder()
    async with calling(feed) as client:
        await begin(client, holder, Feed.watch)
        await eventually(lambda: not holder.held)
        await eventually(lambda: feed.left == ["watch"])
        assert await client.call(Feed.latest) == 42


@pytest.mark.one_loop
async def test_a_stream_may_go_as_its_metadata_comes() -> None:
    holder = LastHolder()
    async with served(EveryKind) as target, Client(target) as client:
        await client.ready(timeout=10)
        await begin(client, holder, EveryKind.early)
        await eventually(lambda: not holder.held)
        await eventually(lambda: not client.stats()["live"]["calls"])

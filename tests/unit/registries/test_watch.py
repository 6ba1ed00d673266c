"""Handing lists to loops and threads."""

import asyncio
import gc
import itertools
import threading
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc.registries.base.watch import Channel, Watch

ONE = [Endpoint("tcp://h:1")]
TWO = [*ONE, Endpoint("tcp://h:2")]


@pytest.fixture
def channel() -> Channel:
    return Channel(itertools.count(1))


def watch_of(channel: Channel) -> Watch:
    return Watch(channel, lambda: None)


async def test_watch_yields_the_current_list_at_once(channel: Channel) -> None:
    channel.publish(ONE)
    assert (await anext(watch_of(channel))).endpoints == tuple(ONE)


async def test_watch_wakes_for_a_list_from_another_thread(channel: Channel) -> None:
    watch = watch_of(channel)
    waiting = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    await asyncio.to_thread(channel.publish, ONE)
    async with asyncio.timeout(20):
        assert (await waiting).endpoints == tuple(ONE)


async def test_slow_watcher_gets_the_newest_list_only(channel: Channel) -> None:
    watch = watch_of(channel)
    for endpoints in (ONE, TWO, ONE):
        channel.publish(endpoints)
    assert (await anext(watch)).version == 3


async def test_each_watch_gets_every_list(channel: Channel) -> None:
    watches = [watch_of(channel) for _ in range(3)]
    channel.publish(ONE)
    assert [(await anext(watch)).version for watch in watches] == [1, 1, 1]


async def test_closed_channel_ends_the_iteration(channel: Channel) -> None:
    watch = watch_of(channel)
    waiting = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    channel.close()
    async with asyncio.timeout(20):
        assert await waiting is None


async def test_closed_watch_ends_its_own_iteration_only(channel: Channel) -> None:
    first, second = watch_of(channel), watch_of(channel)
    waiting = asyncio.ensure_future(anext(first, None))
    await asyncio.sleep(0)
    first.close()
    async with asyncio.timeout(20):
        assert await waiting is None
    channel.publish(ONE)
    assert (await anext(second)).version == 1
    assert first.wait(0) is None


async def test_cancelled_wait_loses_nothing(channel: Channel) -> None:
    watch = watch_of(channel)
    waiting = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    channel.publish(ONE)
    assert (await anext(watch)).version == 1


def test_wait_blocks_until_there_is_news(channel: Channel) -> None:
    watch = watch_of(channel)
    assert watch.wait(0) is None
    publisher = threading.Thread(target=channel.publish, args=(ONE,))
    publisher.start()
    found = watch.wait(20)
    publisher.join()
    assert found is not None
    assert found.endpoints == tuple(ONE)
    assert watch.wait(0) is None
    assert watch.latest is found


def test_wait_ends_when_the_channel_closes(channel: Channel) -> None:
    watch = watch_of(channel)
    closer = threading.Thread(target=channel.close)
    closer.start()
    assert watch.wait(20) is None
    closer.join()
    assert channel.is_closed


def test_closed_watch_ends_its_own_wait_only(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = watch_of(channel), watch_of(channel)
    is_waiting = threading.Event()
    wait = channel._changed.wait

    def told_wait(timeout: float | None) -> bool:
        # The lock is held: whoever changes something from now on finds a thread that waits.
        is_waiting.set()
        return wait(timeout)

    monkeypatch.setattr(channel._changed, "wait", told_wait)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(first.wait()), daemon=True)
    waiting.start()
    assert is_waiting.wait(20)
    first.close()
    waiting.join(20)
    assert found == [None]
    assert not channel.is_closed
    channel.publish(ONE)
    assert second.wait(20) is not None


def test_watch_belongs_to_one_loop(channel: Channel) -> None:
    channel.publish(ONE)
    watch = watch_of(channel)

    async def use() -> None:
        await anext(watch)

    asyncio.run(use())
    with pytest.raises(RuntimeError, match="belongs to"):
        asyncio.run(use())


def test_publishing_after_the_loop_is_closed_does_no_harm(channel: Channel) -> None:
    channel.publish(ONE)
    watch = watch_of(channel)

    async def use() -> None:
        await anext(watch)

    asyncio.run(use())
    channel.publish(TWO)
    watch.close()


def test_dropped_watch_releases_its_references(channel: Channel) -> None:
    released: list[bool] = []

    async def use() -> None:
        channel.publish(ONE)
        await anext(Watch(channel, lambda: released.append(True)))

    asyncio.run(use())
    gc.collect()
    assert released == [True]
    assert channel._listeners == []


def test_closing_twice_releases_once(channel: Channel) -> None:
    released: list[bool] = []
    with Watch(channel, lambda: released.append(True)) as watch:
        watch.close()
    assert released == [True]

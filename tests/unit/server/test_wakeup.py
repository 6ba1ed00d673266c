"""The handlers that one change wakes: in slices, each once."""

import asyncio

from fastrpc.server.wakeup import Watchers


class Counted:
    def __init__(self) -> None:
        self.count = 0

    def wake(self) -> None:
        self.count += 1


async def test_many_handlers_are_woken_over_several_turns_of_the_loop() -> None:
    watchers, woken = Watchers(), [Counted() for _ in range(100)]
    for watcher in woken:
        watchers.add(watcher)
    watchers.wake()
    counts = [sum(watcher.count for watcher in woken)]
    while counts[-1] < 100:
        await asyncio.sleep(0)
        counts.append(sum(watcher.count for watcher in woken))
    assert counts == [32, 64, 96, 100]
    assert {watcher.count for watcher in woken} == {1}


async def test_change_in_between_wakes_each_handler_after_it() -> None:
    watchers, woken = Watchers(), [Counted() for _ in range(100)]
    for watcher in woken:
        watchers.add(watcher)
    watchers.wake()
    before = [watcher.count for watcher in woken]
    watchers.wake()
    for _ in range(10):
        await asyncio.sleep(0)
    assert all(watcher.count > count for watcher, count in zip(woken, before, strict=True))


async def test_handler_that_left_is_not_woken() -> None:
    watchers, woken = Watchers(), [Counted() for _ in range(100)]
    for watcher in woken:
        watchers.add(watcher)
    watchers.wake()
    late = [watcher for watcher in woken if not watcher.count]
    for watcher in late:
        watchers.discard(watcher)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not any(watcher.count for watcher in late)
